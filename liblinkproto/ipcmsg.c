/* The frames of docs/IPC.md:
 *
 *   u32 length | u8 type | u8 flags | u16 0 | u32 session | u32 request | body
 *
 * One table says for every type who may send it, what its header may hold and which fields make up
 * the body; the decoder and the encoder both walk that table, so that they cannot disagree. */
#include <errno.h>

#include "ipcmsg.h"

enum {
        BY_APP = 1 << 0,
        BY_AGENT = 1 << 1,
        BY_BOTH = BY_APP | BY_AGENT,
};

/* What a number in the header may be. */
typedef enum NumberRule {
        ANY = 0,
        ZERO,
        NONZERO,
} NumberRule;

typedef enum FieldKind {
        FIELD_END = 0,
        FIELD_MAGIC,  /* "LKIP" */
        FIELD_ZERO16, /* reserved */
        FIELD_U16,
        FIELD_U32,
        FIELD_WINDOW,  /* u32, 1 to IPC_WINDOW_MAX */
        FIELD_STATE,   /* u8, an IpcState */
        FIELD_ROLES,   /* u8, IPC_ROLE_* */
        FIELD_STR,     /* u16 length, text */
        FIELD_JSON,    /* text up to the end */
        FIELD_JSON32,  /* u32 length, text */
        FIELD_PAYLOAD, /* bytes up to the end */
} FieldKind;

typedef struct Field {
        FieldKind kind;
        size_t offset; /* in IpcMessage */
} Field;

enum { FIELDS_MAX = 7 };

typedef struct TypeRule {
        IpcType type;
        uint8_t senders;
        uint8_t flags; /* that have a meaning */
        NumberRule session, request;
        Field fields[FIELDS_MAX];
} TypeRule;

#define F(kind, member)                                                                            \
        {                                                                                          \
                FIELD_##kind, offsetof(IpcMessage, member)                                         \
        }
#define F_(kind)                                                                                   \
        {                                                                                          \
                FIELD_##kind, 0                                                                    \
        }

static const char magic[4] = {'L', 'K', 'I', 'P'};

/* clang-format off */
#define RULE(type, senders, flags, session, request, ...)                                          \
        {IPC_##type, BY_##senders, flags, session, request, {__VA_ARGS__}}

static const TypeRule rules[] = {
        RULE(HELLO,    BOTH,  0, ZERO,    ZERO,    F_(MAGIC), F(U16, version),
             F_(ZERO16), F(U32, features), F(U32, max_frame), F(STR, name)),
        RULE(ERROR,    AGENT, 0, ANY,     ANY,     F(STR, name), F(STR, message), F(U32, error_no)),
        RULE(CALL,     APP,   0, ZERO,    NONZERO, F(STR, name), F(JSON, json)),
        RULE(RESULT,   AGENT, 0, ANY,     NONZERO, F(JSON, json)),
        RULE(NOTIFY,   AGENT, 0, ANY,     ZERO,    F(STR, name), F(JSON, json)),
        RULE(CONNECT,  APP,   0, ZERO,    NONZERO, F(WINDOW, window), F(STR, name)),
        RULE(OPENED,   AGENT, 0, NONZERO, NONZERO, F(WINDOW, window), F(JSON, json)),
        RULE(STATE,    AGENT, 0, NONZERO, ZERO,    F(STATE, state), F(STR, name), F(STR, message)),
        RULE(SERVE,    APP,   0, ZERO,    NONZERO, F(WINDOW, window), F(ROLES, roles), F(STR, name)),
        RULE(INCOMING, AGENT, 0, NONZERO, ZERO,    F(WINDOW, window), F(JSON, json)),
        RULE(CLOSE,    APP,   0, NONZERO, ZERO,    F_(END)),
        RULE(REQUEST,  BOTH,  0, NONZERO, NONZERO, F(U32, timeout_msec), F(JSON, json)),
        RULE(RESPONSE, BOTH,  IPC_FLAG_OK, ANY, NONZERO, F(JSON, json)),
        RULE(EVENT,    BOTH,  0, NONZERO, ANY,     F(JSON32, json), F(PAYLOAD, payload)),
        RULE(ASK,      APP,   0, ZERO,    NONZERO, F(U32, timeout_msec), F(STR, name), F(JSON, json)),
        RULE(CANCEL,   BOTH,  0, ANY,     NONZERO, F_(END)),
        RULE(CREDIT,   BOTH,  0, NONZERO, ZERO,    F(U32, window)),
};
/* clang-format on */

static const TypeRule *find_rule(unsigned type)
{
        for (size_t i = 0; i < ELEMENTSOF(rules); i++)
                if (rules[i].type == type)
                        return &rules[i];
        return NULL;
}

bool ipc_str_eq(IpcStr s, const char *t)
{
        size_t n = strlen(t);
        return s.n == n && (n == 0 || memcmp(s.p, t, n) == 0);
}

/* Bytes of the UTF-8 sequence at p (n > 0 bytes there), 0 if it is none. RFC 3629: no overlong
 * form, no surrogate, nothing above U+10FFFF. */
static size_t utf8_sequence(const uint8_t *p, size_t n)
{
        size_t need;
        uint8_t low = 0x80, high = 0xbf; /* of the second byte */

        if (p[0] >= 0xc2 && p[0] <= 0xdf)
                need = 2;
        else if (p[0] >= 0xe0 && p[0] <= 0xef)
                need = 3;
        else if (p[0] >= 0xf0 && p[0] <= 0xf4)
                need = 4;
        else
                return 0;
        if (p[0] == 0xe0)
                low = 0xa0;
        else if (p[0] == 0xed)
                high = 0x9f;
        else if (p[0] == 0xf0)
                low = 0x90;
        else if (p[0] == 0xf4)
                high = 0x8f;
        if (n < need || p[1] < low || p[1] > high)
                return 0;
        for (size_t i = 2; i < need; i++)
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
        return need;
}

bool ipc_utf8_valid(const char *text, size_t n)
{
        const uint8_t *p = (const uint8_t *)text;
        const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;

        while (n > 0) {
                if (n >= 8) {
                        uint64_t word;

                        /* Eight ASCII bytes at once, none of them 0: most of JSON. */
                        memcpy(&word, p, 8);
                        if (((word | (word - ones)) & highs) == 0) {
                                p += 8;
                                n -= 8;
                                continue;
                        }
                }
                size_t k = 1;
                if (*p == 0)
                        return false;
                if (*p >= 0x80) {
                        k = utf8_sequence(p, n);
                        if (k == 0)
                                return false;
                }
                p += k;
                n -= k;
        }
        return true;
}

/* What is left of the body. */
typedef struct Reader {
        const uint8_t *p;
        size_t n;
} Reader;

static const uint8_t *take(Reader *r, size_t n)
{
        const uint8_t *p = r->p;

        if (r->n < n)
                return NULL;
        r->p += n;
        r->n -= n;
        return p;
}

static void *member(IpcMessage *m, const Field *f)
{
        return (char *)m + f->offset;
}

static const void *const_member(const IpcMessage *m, const Field *f)
{
        return (const char *)m + f->offset;
}

static const char short_body[] = "the body is too short for its type";

/* Each returns NULL, or the fault. */

static const char *read_text(Reader *r, size_t n, IpcStr *ret, const char *fault)
{
        const uint8_t *p = take(r, n);

        if (!p)
                return short_body;
        if (!ipc_utf8_valid((const char *)p, n))
                return fault;
        *ret = (IpcStr){.p = (const char *)p, .n = n};
        return NULL;
}

static const char *read_str(Reader *r, IpcStr *ret)
{
        const uint8_t *p = take(r, 2);

        return p ? read_text(r, read_u16be(p), ret, "a string is not UTF-8 without NUL")
                 : short_body;
}

static const char *read_json(Reader *r, bool with_length, IpcStr *ret)
{
        size_t n = r->n;

        if (with_length) {
                const uint8_t *p = take(r, 4);
                if (!p)
                        return short_body;
                n = read_u32be(p);
        }
        return read_text(r, n, ret, "JSON text is not UTF-8 without NUL");
}

static const char *read_u32(Reader *r, bool window, uint32_t *ret)
{
        const uint8_t *p = take(r, 4);

        if (!p)
                return short_body;
        uint32_t v = read_u32be(p);
        if (window && (v < 1 || v > IPC_WINDOW_MAX))
                return "the window is not within 1 to 4194304";
        *ret = v;
        return NULL;
}

static const char *read_u8(Reader *r, uint8_t min, uint8_t max, uint8_t *ret, const char *fault)
{
        const uint8_t *p = take(r, 1);

        if (!p)
                return short_body;
        if (*p < min || *p > max)
                return fault;
        *ret = *p;
        return NULL;
}

/* version, or with NULL a field that is 0. */
static const char *read_u16(Reader *r, uint16_t *ret)
{
        const uint8_t *p = take(r, 2);

        if (!p)
                return short_body;
        if (ret)
                *ret = read_u16be(p);
        else if (read_u16be(p) != 0)
                return "a reserved field is not 0";
        return NULL;
}

static const char *read_magic(Reader *r)
{
        const uint8_t *p = take(r, sizeof magic);

        if (!p)
                return short_body;
        return memcmp(p, magic, sizeof magic) == 0 ? NULL : "HELLO does not begin with LKIP";
}

static const char *read_field(Reader *r, const Field *f, IpcMessage *m)
{
        switch (f->kind) {
        case FIELD_END:
                return NULL;
        case FIELD_MAGIC:
                return read_magic(r);
        case FIELD_ZERO16:
                return read_u16(r, NULL);
        case FIELD_U16:
                return read_u16(r, member(m, f));
        case FIELD_U32:
                return read_u32(r, false, member(m, f));
        case FIELD_WINDOW:
                return read_u32(r, true, member(m, f));
        case FIELD_STATE:
                return read_u8(r, IPC_STATE_CONNECTING, IPC_STATE_CLOSED, member(m, f),
                               "an unknown state");
        case FIELD_ROLES:
                return read_u8(r, 0, IPC_ROLE_REQUESTS | IPC_ROLE_EVENTS, member(m, f),
                               "an unknown role");
        case FIELD_STR:
                return read_str(r, member(m, f));
        case FIELD_JSON:
                return read_json(r, false, member(m, f));
        case FIELD_JSON32:
                return read_json(r, true, member(m, f));
        case FIELD_PAYLOAD:
                m->payload_len = r->n;
                m->payload = r->n > 0 ? take(r, r->n) : NULL;
                return NULL;
        }
        return "an unknown field";
}

static const char *read_body(Reader *r, const TypeRule *rule, IpcMessage *m)
{
        for (size_t i = 0; i < FIELDS_MAX && rule->fields[i].kind != FIELD_END; i++) {
                const char *fault = read_field(r, &rule->fields[i], m);
                if (fault)
                        return fault;
        }
        return r->n > 0 ? "bytes follow the last field" : NULL;
}

static bool number_allowed(NumberRule rule, uint32_t v)
{
        return rule == ANY || (rule == ZERO) == (v == 0);
}

/* The header after the length. The fault, or NULL with *ret_rule. */
static const char *check_header(const uint8_t *head, bool from_agent, const TypeRule **ret_rule)
{
        const TypeRule *rule = find_rule(head[4]);

        if (!rule)
                return "an unknown frame type";
        if (!(rule->senders & (from_agent ? BY_AGENT : BY_APP)))
                return "a frame type of the other direction";
        if (head[5] & ~rule->flags)
                return "a flag is set that has no meaning";
        if (read_u16be(head + 6) != 0)
                return "a reserved field is not 0";
        if (!number_allowed(rule->session, read_u32be(head + 8)))
                return "a session number is missing, or set where there is none";
        if (!number_allowed(rule->request, read_u32be(head + 12)))
                return "a request number is missing, or set where there is none";
        *ret_rule = rule;
        return NULL;
}

int ipcmsg_decode(const uint8_t *data, size_t len, bool from_agent, IpcMessage *ret,
                  size_t *ret_used, const char **ret_fault)
{
        const TypeRule *rule = NULL;

        if (len < 4) {
                *ret_used = 0;
                return 0;
        }
        uint32_t length = read_u32be(data);
        if (length < IPC_FRAME_MIN || length > IPC_FRAME_MAX) {
                *ret_fault = "the frame length is out of bounds";
                return -EPROTO;
        }
        size_t frame_len = 4 + (size_t)length;
        if (len >= IPC_HEAD_BYTES) {
                /* A bad header is told before its body was waited for. */
                const char *fault = check_header(data, from_agent, &rule);
                if (fault) {
                        *ret_fault = fault;
                        return -EPROTO;
                }
        }
        if (len < frame_len || !rule) {
                *ret_used = frame_len;
                return 0;
        }

        IpcMessage m = {
                .type = rule->type,
                .flags = data[5],
                .session = read_u32be(data + 8),
                .request = read_u32be(data + 12),
                .frame_len = frame_len,
        };
        Reader r = {.p = data + IPC_HEAD_BYTES, .n = frame_len - IPC_HEAD_BYTES};
        const char *fault = read_body(&r, rule, &m);
        if (fault) {
                *ret_fault = fault;
                return -EPROTO;
        }
        *ret = m;
        *ret_used = frame_len;
        return 1;
}

/* Bytes of a field. -EMSGSIZE if it cannot be written. */
static int field_size(const Field *f, const IpcMessage *m, size_t *ret)
{
        const IpcStr *s = const_member(m, f);

        switch (f->kind) {
        case FIELD_END:
                *ret = 0;
                return 0;
        case FIELD_STATE:
        case FIELD_ROLES:
                *ret = 1;
                return 0;
        case FIELD_ZERO16:
        case FIELD_U16:
                *ret = 2;
                return 0;
        case FIELD_MAGIC:
        case FIELD_U32:
        case FIELD_WINDOW:
                *ret = 4;
                return 0;
        case FIELD_STR:
                *ret = 2 + s->n;
                return s->n <= IPC_STRING_MAX ? 0 : -EMSGSIZE;
        case FIELD_JSON:
                *ret = s->n;
                return s->n <= IPC_FRAME_MAX ? 0 : -EMSGSIZE;
        case FIELD_JSON32:
                *ret = 4 + s->n;
                return s->n <= IPC_FRAME_MAX ? 0 : -EMSGSIZE;
        case FIELD_PAYLOAD:
                *ret = m->payload_len;
                return m->payload_len <= IPC_FRAME_MAX ? 0 : -EMSGSIZE;
        }
        return -EMSGSIZE;
}

static void add_text(Buf *b, const IpcStr *s)
{
        if (s->n > 0)
                buf_add(b, s->p, s->n);
}

static void write_field(Buf *b, const Field *f, const IpcMessage *m)
{
        const void *p = const_member(m, f);
        const IpcStr *s = p;

        switch (f->kind) {
        case FIELD_END:
                return;
        case FIELD_MAGIC:
                buf_add(b, magic, sizeof magic);
                return;
        case FIELD_ZERO16:
                buf_add_u16be(b, 0);
                return;
        case FIELD_U16:
                buf_add_u16be(b, *(const uint16_t *)p);
                return;
        case FIELD_U32:
        case FIELD_WINDOW:
                buf_add_u32be(b, *(const uint32_t *)p);
                return;
        case FIELD_STATE:
        case FIELD_ROLES:
                buf_add_u8(b, *(const uint8_t *)p);
                return;
        case FIELD_STR:
                buf_add_u16be(b, (uint16_t)s->n);
                add_text(b, s);
                return;
        case FIELD_JSON:
                add_text(b, s);
                return;
        case FIELD_JSON32:
                buf_add_u32be(b, (uint32_t)s->n);
                add_text(b, s);
                return;
        case FIELD_PAYLOAD:
                if (m->payload_len > 0)
                        buf_add(b, m->payload, m->payload_len);
                return;
        }
}

int ipcmsg_encode(Buf *b, const IpcMessage *m)
{
        const TypeRule *rule = find_rule(m->type);
        size_t frame_len = IPC_HEAD_BYTES;

        if (!rule)
                return -EMSGSIZE;
        for (size_t i = 0; i < FIELDS_MAX && rule->fields[i].kind != FIELD_END; i++) {
                size_t n;
                int r = field_size(&rule->fields[i], m, &n);
                if (r < 0)
                        return r;
                frame_len += n;
        }
        if (frame_len - 4 > IPC_FRAME_MAX)
                return -EMSGSIZE;
        if (buf_ok(b) < 0 || buf_reserve(b, frame_len) < 0)
                return -ENOMEM;

        buf_add_u32be(b, (uint32_t)(frame_len - 4));
        buf_add_u8(b, (uint8_t)m->type);
        buf_add_u8(b, m->flags);
        buf_add_u16be(b, 0);
        buf_add_u32be(b, m->session);
        buf_add_u32be(b, m->request);
        for (size_t i = 0; i < FIELDS_MAX && rule->fields[i].kind != FIELD_END; i++)
                write_field(b, &rule->fields[i], m);
        return buf_ok(b);
}
