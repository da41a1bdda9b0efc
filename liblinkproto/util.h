/* Small things that every module of the tree uses. Header only, libc only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h> /* MIN, MAX */

#define _cleanup_(f)   __attribute__((cleanup(f)))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _must_use_     __attribute__((warn_unused_result))

#define ELEMENTSOF(a) (sizeof(a) / sizeof((a)[0]))

/* The object that holds `member` at `ptr`. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Defines type_freep() for _cleanup_ from a `T *func(T *)` that takes NULL. */
#define DEFINE_CLEANUP(T, func)                                                                    \
        static inline void func##p(T **p)                                                          \
        {                                                                                          \
                if (*p)                                                                            \
                        (void)func(*p);                                                            \
        }

static inline void freep(void *p)
{
        free(*(void **)p);
}

/* Takes the value out of a variable and leaves NULL there: hands ownership on. */
#define TAKE_PTR(p)                                                                                \
        ({                                                                                         \
                __typeof__(p) _taken = (p);                                                        \
                (p) = NULL;                                                                        \
                _taken;                                                                            \
        })

static inline uint16_t read_u16be(const uint8_t *p)
{
        return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t read_u32be(const uint8_t *p)
{
        return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t read_u64be(const uint8_t *p)
{
        return (uint64_t)read_u32be(p) << 32 | read_u32be(p + 4);
}

static inline void write_u16be(uint8_t *p, uint16_t v)
{
        p[0] = (uint8_t)(v >> 8);
        p[1] = (uint8_t)v;
}

static inline void write_u32be(uint8_t *p, uint32_t v)
{
        p[0] = (uint8_t)(v >> 24);
        p[1] = (uint8_t)(v >> 16);
        p[2] = (uint8_t)(v >> 8);
        p[3] = (uint8_t)v;
}

static inline void write_u64be(uint8_t *p, uint64_t v)
{
        write_u32be(p, (uint32_t)(v >> 32));
        write_u32be(p + 4, (uint32_t)v);
}

static inline void write_u64le(uint8_t *p, uint64_t v)
{
        for (int i = 0; i < 8; i++)
                p[i] = (uint8_t)(v >> (8 * i));
}
