/* Answers to an upgrade: what a part of one is judged to be does not change by what comes behind
 * it. */
#include "fuzz.h"
#include "liblinkproto/wsclient.h"

static const uint8_t nonce[WSCLIENT_NONCE_BYTES]; /* zeros: the corpus holds the key to them */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *text = (const char *)data;
        WsResponse r, again;
        WsAnswer whole = wsclient_read(text, size, nonce, &r);

        if (whole == WSANSWER_UPGRADED || whole == WSANSWER_REFUSED) {
                CHECK(r.head_len >= 4 && r.head_len <= size);
                CHECK(memcmp(text + r.head_len - 4, "\r\n\r\n", 4) == 0);
                CHECK((r.status == 101) == (whole == WSANSWER_UPGRADED) && r.status <= 999);
                CHECK(strlen(r.date) < sizeof(r.date));
                CHECK(wsclient_read(text, r.head_len, nonce, &again) == whole);
                CHECK(again.status == r.status && strcmp(again.date, r.date) == 0);
        }
        for (size_t n = 0; n < size; n += 1 + n / 8) {
                WsAnswer part = wsclient_read(text, n, nonce, &again);

                CHECK(part == WSANSWER_MORE || part == whole);
        }
        return 0;
}
