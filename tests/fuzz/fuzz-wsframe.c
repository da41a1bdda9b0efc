/* The WebSocket receiver: an input in one piece and in many must give the same events. The first
 * bytes choose the side, the limit and the cuts. */
#include "fuzz.h"
#include "liblinkproto/ipcmsg.h"
#include "ws-transcript.h"

enum { CUTS = 6 };

static void compare(const uint8_t *data, size_t size, const size_t *cuts, size_t n, bool is_server,
                    uint64_t max)
{
        Buf whole = {}, split = {};
        int a = ws_transcript(&whole, data, size, NULL, 0, is_server, max);
        int b = ws_transcript(&split, data, size, cuts, n, is_server, max);

        CHECK(a == b && a <= 0);
        CHECK(whole.len == split.len);
        CHECK(whole.len == 0 || memcmp(whole.data, split.data, whole.len) == 0);
        buf_done(&whole);
        buf_done(&split);
}

/* What is decoded is encoded back to the same bytes: lengths are minimal. */
static void check_head(const uint8_t *data, size_t size)
{
        uint8_t out[WSFRAME_HEAD_MAX];
        WsHead h;
        int n = wsframe_decode_head(data, size, &h);

        CHECK(n <= WSFRAME_HEAD_MAX && (n >= 0 || n == -EPROTO) && n <= (int)size);
        if (n <= 0)
                return;
        CHECK(wsframe_encode_head(out, h.fin, h.opcode, h.length, h.masked ? h.mask : NULL) ==
              (size_t)n);
        CHECK(memcmp(out, data, (size_t)n) == 0);
        for (int k = 0; k < n; k++)
                CHECK(wsframe_decode_head(data, (size_t)k, &h) == 0);
}

static void check_close(const uint8_t *data, size_t size)
{
        unsigned code = 0;
        int r = wsframe_decode_close(data, size, &code);

        CHECK(r == 0 || r == -EPROTO || r == -EBADMSG);
        CHECK((r == 0) == (code != 0));
        if (!memchr(data, 0, size))
                CHECK(ws_utf8_valid(data, size) == ipc_utf8_valid((const char *)data, size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const uint64_t limits[] = {16 * 1024 * 1024, 4096, 10, UINT64_MAX};
        uint8_t flags = fuzz_byte(&data, &size);
        size_t cuts[CUTS], at = 0;

        if (size == 0)
                return 0;
        for (size_t i = 0; i < CUTS; i++) {
                at = MIN(at + fuzz_byte(&data, &size) % 32, size);
                cuts[i] = at;
        }
        for (size_t i = 0; i < CUTS; i++) /* size has become smaller meanwhile */
                cuts[i] = MIN(cuts[i], size);
        compare(data, size, cuts, CUTS, flags & 1, limits[flags >> 1 & 3]);
        if (size) {
                check_head(data, size);
                check_close(data, size);
        }
        return 0;
}
