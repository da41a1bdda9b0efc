/* Request heads: what a part of a head is judged to be does not change by what comes behind it. */
#include "fuzz.h"
#include "liblinkproto/wshandshake.h"

static void check_upgrade(const char *text, size_t size, const WsRequest *r)
{
        char out[WSHANDSHAKE_RESPONSE_MAX];
        WsRequest again;

        CHECK(r->head_len >= 4 && r->head_len <= size);
        CHECK(memcmp(text + r->head_len - 4, "\r\n\r\n", 4) == 0);
        CHECK(strlen(r->key) == 24 && strlen(r->host) <= WSHANDSHAKE_HOST_MAX);
        for (const char *c = r->host; *c; c++)
                CHECK(!(*c >= 'A' && *c <= 'Z') && ((unsigned char)*c >= 0x20 || *c == '\t'));
        CHECK(wshandshake_read(text, r->head_len, &again) == WSHEAD_UPGRADE);
        CHECK(memcmp(&again, r, sizeof(again)) == 0);
        CHECK(wshandshake_response(r->key, 0, out) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *text = (const char *)data;
        WsRequest r, part_request;
        WsHeadResult whole;

        memset(&r, 0, sizeof(r));
        whole = wshandshake_read(text, size, &r);
        if (whole == WSHEAD_UPGRADE)
                check_upgrade(text, size, &r);
        for (size_t n = 0; n < size; n += 1 + n / 8) {
                WsHeadResult part = wshandshake_read(text, n, &part_request);

                CHECK(part == WSHEAD_MORE || part == whole);
        }
        return 0;
}
