#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"

/* ---- requests ---- */

/* Most are short; some take several reads. */
static size_t pad_bytes(uint64_t number)
{
        return number % 97 == 0 ? PAD_MAX_BYTES : (size_t)(number * 31 % 1500);
}

void command_make(char *out, const char *name, uint64_t number)
{
        size_t pad = pad_bytes(number);
        /* Numbers that a JSON library would have changed on the way. */
        int n = snprintf(out, MESSAGE_MAX_BYTES,
                         "{\"from\":\"%s\",\"number\":%llu,\"long\":123456789012345678901234567890,"
                         "\"one\":1.0,\"pad\":\"",
                         name, (unsigned long long)number);

        memset(out + n, 'a' + (int)(number % 26), pad);
        strcpy(out + (size_t)n + pad, "\"}"); /* the bound has room for it */
}

char *answer_make(const char *host, const char *command)
{
        char *answer;

        if (asprintf(&answer, "{\"host\":\"%s\",\"of\":%s}", host, command) < 0)
                fatal("out of memory");
        return answer;
}

bool answer_is_right(const char *json, size_t len, const char *host, const char *command)
{
        char *want = answer_make(host, command);
        bool right = strlen(want) == len && memcmp(json, want, len) == 0;

        free(want);
        return right;
}

/* ---- events ---- */

void event_make(char *out, const char *name, uint64_t number)
{
        (void)snprintf(out, MESSAGE_MAX_BYTES, "{\"from\":\"%s\",\"event\":%llu}", name,
                       (unsigned long long)number); /* it fits */
}

size_t payload_make(uint8_t *out, uint64_t number)
{
        size_t n = number % 13 == 0 ? PAYLOAD_MAX_BYTES : (size_t)(number * 37 % 4096) + 1;
        uint64_t x = number * 0x9e3779b97f4a7c15 + 1; /* never 0: xorshift */

        for (size_t i = 0; i < n; i++) {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                out[i] = (uint8_t)x;
        }
        return n;
}

bool event_is_right(const char *data, size_t len, const void *payload, size_t payload_len,
                    uint64_t *ret_number)
{
        static uint8_t want[PAYLOAD_MAX_BYTES]; /* too large for a stack */
        char name[NAME_MAX_BYTES + 1], again[MESSAGE_MAX_BYTES];
        unsigned long long number;

        /* NAME_MAX_BYTES */
        if (sscanf(data, "{\"from\":\"%32[^\"]\",\"event\":%llu}", name, &number) != 2)
                return false;
        event_make(again, name, number);
        if (strlen(again) != len || memcmp(data, again, len) != 0)
                return false;
        if (payload_make(want, number) != payload_len || !payload ||
            memcmp(want, payload, payload_len) != 0)
                return false;
        *ret_number = number;
        return true;
}
