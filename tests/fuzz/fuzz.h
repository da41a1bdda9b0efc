/* What the harnesses share. Each file fuzz-NAME.c is one LLVMFuzzerTestOneInput(), built with
 * libFuzzer by the option `fuzz`, else with replay.c, which runs it over tests/fuzz/corpus/NAME. */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "liblinkproto/util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that holds for every input. Not by way of stderr, which a harness may replace. */
#define CHECK(x)                                                                                   \
        do {                                                                                       \
                if (!(x)) {                                                                        \
                        dprintf(STDERR_FILENO, "%s:%d: %s\n", __FILE__, __LINE__, #x);             \
                        abort();                                                                   \
                }                                                                                  \
        } while (0)

/* Takes the next byte of the input, 0 when there is none. */
static inline uint8_t fuzz_byte(const uint8_t **data, size_t *size)
{
        if (*size == 0)
                return 0;
        --*size;
        return *(*data)++;
}
