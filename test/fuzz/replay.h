/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes a fuzz target a plain program that replays inputs: each argument is a file, or a folder of files. Included
 * once, by the target. To fuzz, build with clang -fsanitize=fuzzer -DLIBFUZZER, which brings a main of its own.
 */
#ifndef TEST_FUZZ_REPLAY_H
#define TEST_FUZZ_REPLAY_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#ifndef LIBFUZZER

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/file.h"

/* The copy is as long as the input and no longer, so that a sanitizer sees the first byte too many. */
static void replay_file(const char *path)
{
    struct buf content = {NULL, 0, 0};
    struct error err;
    if (file_read(path, 1 << 26, &content, &err) == -1) {
        fprintf(stderr, "%s\n", err.text);
        exit(2);
    }
    uint8_t *copy = mem_alloc(content.len);
    if (content.len > 0)
        memcpy(copy, content.base, content.len);
    LLVMFuzzerTestOneInput(copy, content.len);
    free(copy);
    buf_free(&content);
}

static unsigned replay_folder(const char *path)
{
    unsigned count = 0;
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        char name[1024];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        replay_file(name);
        count++;
    }
    if (folder != NULL)
        closedir(folder);
    return count;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    for (int i = 1; i < argc; i++) {
        struct stat info;
        if (stat(argv[i], &info) == 0 && S_ISDIR(info.st_mode)) {
            count += replay_folder(argv[i]);
        } else {
            replay_file(argv[i]);
            count++;
        }
    }
    printf("%u inputs\n", count);
    return count > 0 ? 0 : 2;
}

#endif
#endif
