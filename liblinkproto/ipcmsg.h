/* The message codec of the agent's IPC (docs/IPC.md), shared by linkd and liblinkipc. libc only, no
 * I/O. */
#pragma once

#include "buf.h"

enum {
        IPC_VERSION = 1,
        IPC_HEAD_BYTES = 16,                          /* with the length field */
        IPC_FRAME_MAX = 16 * 1024 * 1024 + 64 * 1024, /* largest value of the length field */
        IPC_FRAME_MIN = 12,
        IPC_WINDOW_MAX = 4 * 1024 * 1024,
        IPC_STRING_MAX = 65535,
};

typedef enum IpcType {
        IPC_HELLO = 0x01,
        IPC_ERROR = 0x02,
        IPC_CALL = 0x03,
        IPC_RESULT = 0x04,
        IPC_NOTIFY = 0x05,
        IPC_CONNECT = 0x10,
        IPC_OPENED = 0x11,
        IPC_STATE = 0x12,
        IPC_SERVE = 0x13,
        IPC_INCOMING = 0x14,
        IPC_CLOSE = 0x15,
        IPC_REQUEST = 0x20,
        IPC_RESPONSE = 0x21,
        IPC_EVENT = 0x22,
        IPC_ASK = 0x23,
        IPC_CANCEL = 0x24,
        IPC_CREDIT = 0x25,
} IpcType;

enum { IPC_FLAG_OK = 0x01 }; /* of RESPONSE */
enum { IPC_ROLE_REQUESTS = 0x01, IPC_ROLE_EVENTS = 0x02 };

typedef enum IpcState {
        IPC_STATE_CONNECTING = 1,
        IPC_STATE_CONNECTED = 2,
        IPC_STATE_RECONNECTING = 3,
        IPC_STATE_CLOSED = 4,
} IpcState;

typedef struct IpcStr {
        const char *p; /* not NUL-terminated */
        size_t n;
} IpcStr;

/* A decoded frame. Strings point into the frame; a field that the type does not have is zero. */
typedef struct IpcMessage {
        IpcType type;
        uint8_t flags;
        uint32_t session;
        uint32_t request;
        size_t frame_len; /* 4 + length: what it costs in flow control */

        uint16_t version;             /* HELLO */
        uint32_t features, max_frame; /* HELLO */
        uint32_t error_no;            /* ERROR */
        uint32_t window;              /* CONNECT, OPENED, SERVE, INCOMING; CREDIT: bytes */
        uint32_t timeout_msec;        /* REQUEST, ASK */
        uint8_t state;                /* STATE: an IpcState */
        uint8_t roles;                /* SERVE */
        IpcStr name; /* HELLO software; ERROR, STATE word; CALL method; NOTIFY topic; CONNECT, ASK
                        peer; SERVE host */
        IpcStr message; /* ERROR, STATE */
        IpcStr json; /* CALL, RESULT, NOTIFY, OPENED, INCOMING, REQUEST, RESPONSE, EVENT, ASK: not
                        checked to be JSON here */
        const uint8_t *payload; /* EVENT: NULL if none */
        size_t payload_len;
} IpcMessage;

/* Looks for a whole frame at the start of data[0..len).
 * 1: *ret is set, *ret_used is its size. 0: more bytes are needed (*ret_used: how many the frame
 * has in all, 0 while not known). -EPROTO: malformed; *ret_fault says how, in words. Direction is
 * checked: from_agent tells who wrote the frame. Strings are UTF-8 without NUL. */
int ipcmsg_decode(const uint8_t *data, size_t len, bool from_agent, IpcMessage *ret,
                  size_t *ret_used, const char **ret_fault) _must_use_;

/* Appends the frame that m describes. 0; -EMSGSIZE: too long for a frame or a string; -ENOMEM.
 * Nothing is appended on failure. */
int ipcmsg_encode(Buf *b, const IpcMessage *m) _must_use_;

/* A slice of a C string. */
static inline IpcStr ipc_str(const char *s)
{
        return (IpcStr){.p = s, .n = s ? strlen(s) : 0};
}
bool ipc_str_eq(IpcStr s, const char *t);
/* Whether p[0..n) is UTF-8 without NUL. */
bool ipc_utf8_valid(const char *p, size_t n);
