/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/compile.h"
#include "rules/source.h"

/* Field names compare without case: the gateway's are in lower case. */
static struct str lower_case(struct compiler *compiler, struct str name)
{
    char *copy = compile_alloc(compiler, name.len + 1, 1);
    for (size_t i = 0; i < name.len; i++)
        copy[i] = (char)(name.base[i] >= 'A' && name.base[i] <= 'Z' ? name.base[i] | 0x20 : name.base[i]);
    return (struct str){copy, name.len};
}

static bool compile_source(struct compiler *compiler, const struct yaml_node *node, struct source *source)
{
    struct error err;
    if (source_parse(node->text, source, &err) == -1) {
        FAULT(compiler->diags, *node, NULL, "\"%.*s\" is no source: %s", SHOWN(node->text), err.text);
        return false;
    }
    source->text = compile_str(compiler, source->text);
    source->name =
        source->kind == SOURCE_HEADER ? lower_case(compiler, source->name) : compile_str(compiler, source->name);
    compiler->jwt_used = compiler->jwt_used || source->kind == SOURCE_JWT;
    if (source->kind == SOURCE_JWT && compiler->model->identity.jwt == NULL)
        FAULT(compiler->diags, *node, "add jwt: {algorithm: ..., key_file: ...} to identity",
              "\"%.*s\" needs identity.jwt: no token is believed unchecked", SHOWN(node->text));
    return true;
}

const struct source *compile_sources(struct compiler *compiler, const struct yaml_node *list, uint32_t *count)
{
    size_t most = list ? list->count : 0;
    struct source *sources = compile_alloc(compiler, most, sizeof(*sources));
    for (size_t i = 0; i < most; i++) {
        const struct yaml_node *node = &list->items[i];
        struct source *source = &sources[*count];
        if (!schema_is_text(node) || !compile_source(compiler, node, source))
            continue;
        for (size_t j = 0; j < *count; j++)
            if (sources[j].kind == source->kind && str_equal(sources[j].name, source->name))
                FAULT(compiler->diags, *node, NULL, "the source \"%.*s\" stands here twice", SHOWN(node->text));
        (*count)++;
    }
    return sources;
}

static void compile_jwt(struct compiler *compiler)
{
    static const enum jwt_algorithm algorithms[] = {JWT_HS256, JWT_RS256, JWT_ES256};
    const struct model_jwt *jwt = &compiler->model->jwt;
    if (compiler->model->identity.jwt == NULL)
        return;
    compiler->table->jwt = (struct jwt_rules){.algorithm = algorithms[jwt->algorithm.value],
                                              .key_file = compile_str(compiler, jwt->key_file.value),
                                              .issuer = compile_str(compiler, jwt->issuer.value),
                                              .audience = compile_str(compiler, jwt->audience.value),
                                              .leeway_s = jwt->leeway.value / 1000};
}

void compile_identity(struct compiler *compiler)
{
    static const enum on_missing choices[] = {MISSING_REJECT, MISSING_CORE, MISSING_LOCAL};
    const struct model_identity *identity = &compiler->model->identity;
    struct table *table = compiler->table;
    table->sources = compile_sources(compiler, identity->sources, &table->source_count);
    table->on_missing = choices[identity->on_missing.value];
    compile_jwt(compiler);
}

void compile_sharding(struct compiler *compiler)
{
    static const enum hash_kind kinds[] = {HASH_MODULO, HASH_CRC16, HASH_XXH3};
    const struct model_sharding *sharding = &compiler->model->sharding;
    struct hash *hash = &compiler->table->hash;
    *hash = (struct hash){.kind = kinds[sharding->hash.value],
                          .non_numeric_xxh3 = sharding->non_numeric.value == 1,
                          .slots = (uint32_t)sharding->slots.value,
                          .seed = sharding->salt.value.base ? hash_seed_of_salt(sharding->salt.value) : 0};
    if (sharding->hash.at.line == 0)
        return;
    if (sharding->non_numeric.at.line > 0 && hash->kind != HASH_MODULO)
        FAULT(compiler->diags, sharding->non_numeric.at, NULL, "non_numeric belongs to hash: modulo, and this is %s",
              hash->kind == HASH_CRC16 ? "crc16" : "xxh3");
    if (sharding->salt.at.line > 0 &&
        (hash->kind == HASH_CRC16 || (hash->kind == HASH_MODULO && !hash->non_numeric_xxh3)))
        FAULT(compiler->diags, sharding->salt.at, NULL, "salt belongs to xxh3, and %s takes none",
              hash->kind == HASH_CRC16 ? "crc16" : "modulo");
}
