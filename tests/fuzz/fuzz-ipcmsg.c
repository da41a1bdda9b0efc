/* IPC frames of both directions: a frame that is taken is written again as the same bytes, and none
 * of its beginnings is refused. */
#include "fuzz.h"
#include "liblinkproto/ipcmsg.h"

static void check_taken(const uint8_t *data, const IpcMessage *m, size_t used, bool from_agent)
{
        const char *fault = NULL;
        IpcMessage again;
        size_t want;
        Buf b = {};

        CHECK(m->frame_len == used);
        CHECK(ipcmsg_encode(&b, m) == 0);
        CHECK(b.len == used && memcmp(b.data, data, used) == 0);
        buf_done(&b);
        for (size_t n = 0; n < used; n += 1 + n / 16) {
                CHECK(ipcmsg_decode(data, n, from_agent, &again, &want, &fault) == 0);
                CHECK(want == (n < 4 ? 0 : used));
        }
}

static void run(const uint8_t *data, size_t size, bool from_agent)
{
        while (size) {
                const char *fault = NULL;
                IpcMessage m;
                size_t used = 0;
                int r = ipcmsg_decode(data, size, from_agent, &m, &used, &fault);

                CHECK(r == 0 || r == 1 || r == -EPROTO);
                CHECK((r == -EPROTO) == (fault != NULL));
                if (r != 1)
                        return;
                CHECK(used >= IPC_HEAD_BYTES && used <= size);
                check_taken(data, &m, used, from_agent);
                data += used;
                size -= used;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        run(data, size, false);
        run(data, size, true);
        return 0;
}
