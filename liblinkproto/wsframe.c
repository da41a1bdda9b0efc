#include "wsframe.h"

#include <errno.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

enum { FIN = 0x80, RSV = 0x70, OPCODE = 0x0f, MASKED = 0x80, LENGTH = 0x7f };

static bool opcode_is_known(uint8_t opcode)
{
        return opcode <= WS_BINARY || (opcode >= WS_CLOSE && opcode <= WS_PONG);
}

/* The first two bytes alone tell of most faults, before anything else is waited for. */
static int check_start(uint8_t b0, uint8_t b1)
{
        if (b0 & RSV || !opcode_is_known(b0 & OPCODE))
                return -EPROTO;
        if (wsframe_is_control(b0 & OPCODE) && (!(b0 & FIN) || (b1 & LENGTH) > WSFRAME_CONTROL_MAX))
                return -EPROTO;
        return 0;
}

int wsframe_decode_head(const uint8_t *p, size_t len, WsHead *ret)
{
        size_t n = 2;
        WsHead h;

        if (len < 2)
                return len == 1 ? check_start(p[0], 0) : 0;
        if (check_start(p[0], p[1]) < 0)
                return -EPROTO;
        h = (WsHead){.fin = p[0] & FIN,
                     .opcode = p[0] & OPCODE,
                     .masked = p[1] & MASKED,
                     .length = p[1] & LENGTH};
        if (h.length == 126) {
                if (len < 4)
                        return 0;
                h.length = read_u16be(p + 2);
                n = 4;
                if (h.length < 126)
                        return -EPROTO;
        } else if (h.length == 127) {
                if (len < 10)
                        return 0;
                h.length = read_u64be(p + 2);
                n = 10;
                if (h.length < 65536 || h.length >> 63)
                        return -EPROTO;
        }
        if (h.masked) {
                if (len < n + 4)
                        return 0;
                memcpy(h.mask, p + n, 4);
                n += 4;
        }
        *ret = h;
        return (int)n;
}

size_t wsframe_encode_head(uint8_t *out, bool fin, uint8_t opcode, uint64_t length,
                           const uint8_t *mask)
{
        size_t n = 2;

        out[0] = (uint8_t)((fin ? FIN : 0) | opcode);
        if (length < 126) {
                out[1] = (uint8_t)length;
        } else if (length < 65536) {
                out[1] = 126;
                write_u16be(out + 2, (uint16_t)length);
                n = 4;
        } else {
                out[1] = 127;
                write_u64be(out + 2, length);
                n = 10;
        }
        if (mask) {
                out[1] |= MASKED;
                memcpy(out + n, mask, 4);
                n += 4;
        }
        return n;
}

/* Both functions mask whole blocks and return how many bytes that were. A block is loaded whole
 * before it is stored, and lies at or behind its new place: so what is overwritten has been read.
 */

/* Plain 64-bit words: the compiler makes vectors of them. */
static size_t mask_blocks(uint8_t *to, const uint8_t *p, size_t n, uint64_t word)
{
        uint64_t b[8];
        size_t done = 0;

        for (; n - done >= sizeof(b); done += sizeof(b)) {
                memcpy(b, p + done, sizeof(b));
                for (size_t i = 0; i < ELEMENTSOF(b); i++)
                        b[i] ^= word;
                memcpy(to + done, b, sizeof(b));
        }
        return done;
}

#ifdef __x86_64__
/* Twice as fast as with the vectors that every x86-64 has. */
__attribute__((target("avx2"))) static size_t mask_blocks_avx2(uint8_t *to, const uint8_t *p,
                                                               size_t n, uint64_t word)
{
        const __m256i wide = _mm256_set1_epi64x((int64_t)word);
        __m256i b[4];
        size_t done = 0;

        for (; n - done >= sizeof(b); done += sizeof(b)) {
                for (size_t i = 0; i < ELEMENTSOF(b); i++)
                        b[i] = _mm256_xor_si256(
                                _mm256_loadu_si256((const __m256i_u *)(p + done) + i), wide);
                for (size_t i = 0; i < ELEMENTSOF(b); i++)
                        _mm256_storeu_si256((__m256i_u *)(to + done) + i, b[i]);
        }
        return done;
}

static size_t mask_blocks_best(uint8_t *to, const uint8_t *p, size_t n, uint64_t word)
{
        return __builtin_cpu_supports("avx2") ? mask_blocks_avx2(to, p, n, word)
                                              : mask_blocks(to, p, n, word);
}
#else
static size_t mask_blocks_best(uint8_t *to, const uint8_t *p, size_t n, uint64_t word)
{
        return mask_blocks(to, p, n, word);
}
#endif

void wsframe_mask_to(uint8_t *to, const uint8_t *p, size_t n, const uint8_t mask[4], uint64_t phase)
{
        uint8_t rotated[8];
        uint64_t word, w;
        size_t done;

        for (size_t i = 0; i < 4; i++)
                rotated[i] = mask[(phase + i) & 3];
        memcpy(rotated + 4, rotated, 4);
        memcpy(&word, rotated, sizeof(word));
        done = mask_blocks_best(to, p, n, word);
        for (; n - done >= sizeof(w); done += sizeof(w)) {
                memcpy(&w, p + done, sizeof(w));
                w ^= word;
                memcpy(to + done, &w, sizeof(w));
        }
        for (size_t i = 0; done < n; i++, done++)
                to[done] = p[done] ^ rotated[i];
}

void wsframe_mask(uint8_t *p, size_t n, const uint8_t mask[4], uint64_t phase)
{
        wsframe_mask_to(p, p, n, mask, phase);
}

/* ---- sequences ---- */

void wsreceiver_init(WsReceiver *r, bool is_server)
{
        *r = (WsReceiver){.expect_mask = is_server};
}

/* Checks a decoded header against what came before, and begins its frame. */
static int begin_frame(WsReceiver *r, const WsHead *h, uint64_t message_max)
{
        if (h->masked != r->expect_mask)
                return -EPROTO; /* sections 5.1: clients mask, servers do not */
        if (!wsframe_is_control(h->opcode)) {
                uint64_t before = r->in_message ? r->message : 0;

                message_max = MIN(message_max, (uint64_t)UINT32_MAX); /* what r->message counts */
                if (r->in_message != (h->opcode == WS_CONTINUATION))
                        return -EPROTO;
                if (h->length > message_max || before > message_max - h->length)
                        return -EMSGSIZE;
                r->message = (uint32_t)(before + h->length);
                r->in_message = true;
        }
        r->opcode = h->opcode;
        r->fin = h->fin;
        r->masked = h->masked;
        memcpy(r->mask, h->mask, 4);
        r->phase = 0;
        r->left = h->length;
        r->in_frame = true;
        return WS_EVENT_HEAD;
}

static int next_head(WsReceiver *r, const uint8_t *data, size_t len, size_t *at,
                     uint64_t message_max)
{
        WsHead h = {};
        int n;

        if (r->head_len == 0) { /* the usual case: the whole header is there */
                n = wsframe_decode_head(data + *at, len - *at, &h);
                if (n > 0) {
                        *at += (size_t)n;
                        return begin_frame(r, &h, message_max);
                }
                if (n < 0)
                        return n;
        }
        while (*at < len) {
                r->head[r->head_len++] = data[(*at)++];
                n = wsframe_decode_head(r->head, r->head_len, &h);
                if (n != 0) {
                        r->head_len = 0;
                        return n < 0 ? n : begin_frame(r, &h, message_max);
                }
        }
        return WS_EVENT_MORE;
}

int wsreceiver_next_raw(WsReceiver *r, const uint8_t *data, size_t len, size_t *at,
                        uint64_t message_max, size_t *ret_offset, size_t *ret_len)
{
        if (!r->in_frame)
                return *at < len ? next_head(r, data, len, at, message_max) : WS_EVENT_MORE;
        if (r->left == 0) {
                r->in_frame = false;
                if (!wsframe_is_control(r->opcode) && r->fin)
                        r->in_message = false;
                return WS_EVENT_END;
        }
        if (*at == len)
                return WS_EVENT_MORE;
        *ret_offset = *at;
        *ret_len = (size_t)MIN(r->left, (uint64_t)(len - *at));
        r->phase = (uint8_t)((r->phase + *ret_len) & 3);
        r->left -= *ret_len;
        *at += *ret_len;
        return WS_EVENT_DATA;
}

void wsreceiver_unmask_to(const WsReceiver *r, uint8_t *to, const uint8_t *p, size_t n)
{
        if (r->masked)
                wsframe_mask_to(to, p, n, r->mask, r->phase - n); /* phase is behind it; modulo 4 */
        else
                memmove(to, p, n);
}

int wsreceiver_next(WsReceiver *r, uint8_t *data, size_t len, size_t *at, uint64_t message_max,
                    uint8_t **ret, size_t *ret_len)
{
        size_t offset;
        int event = wsreceiver_next_raw(r, data, len, at, message_max, &offset, ret_len);

        if (event != WS_EVENT_DATA)
                return event;
        *ret = data + offset;
        if (r->masked)
                wsreceiver_unmask_to(r, *ret, *ret, *ret_len);
        return WS_EVENT_DATA;
}

/* ---- close ---- */

static bool close_code_is_valid(unsigned code)
{
        return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
               (code >= 3000 && code <= 4999);
}

int wsframe_decode_close(const uint8_t *payload, size_t len, unsigned *ret_code)
{
        unsigned code;

        if (len == 0) {
                *ret_code = WS_CLOSE_NO_STATUS;
                return 0;
        }
        if (len == 1)
                return -EPROTO;
        code = read_u16be(payload);
        if (!close_code_is_valid(code))
                return -EPROTO;
        if (!ws_utf8_valid(payload + 2, len - 2))
                return -EBADMSG;
        *ret_code = code;
        return 0;
}

size_t wsframe_encode_close(uint8_t out[4], unsigned code)
{
        size_t n = code == WS_CLOSE_NO_STATUS ? 0 : 2;

        (void)wsframe_encode_head(out, true, WS_CLOSE, n, NULL); /* two bytes */
        if (n)
                write_u16be(out + 2, (uint16_t)code);
        return 2 + n;
}

bool ws_utf8_valid(const uint8_t *p, size_t n)
{
        for (size_t i = 0; i < n;) {
                uint8_t c = p[i];
                size_t more = c < 0x80   ? 0
                              : c < 0xc2 ? 9
                              : c < 0xe0 ? 1
                              : c < 0xf0 ? 2
                              : c < 0xf5 ? 3
                                         : 9;

                if (more > 3 || n - i <= more)
                        return false;
                for (size_t k = 1; k <= more; k++)
                        if ((p[i + k] & 0xc0) != 0x80)
                                return false;
                if ((c == 0xe0 && p[i + 1] < 0xa0) || (c == 0xed && p[i + 1] > 0x9f) ||
                    (c == 0xf0 && p[i + 1] < 0x90) || (c == 0xf4 && p[i + 1] > 0x8f))
                        return false;
                i += more + 1;
        }
        return true;
}
