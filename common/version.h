/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_VERSION_H
#define COMMON_VERSION_H

#define LDCGATE_VERSION "0.1.0"

#endif
