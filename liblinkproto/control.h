/* Control messages between endpoints and relay (PROTOCOL.md "Control messages"): JSON text frames.
 */
#pragma once

#include "json.h"

enum {
        CONTROL_RELAY_MAX = 4096,            /* bytes a relay accepts */
        CONTROL_ENDPOINT_MAX = 256 * 1024,   /* bytes an endpoint accepts: usage of many links */
        LINK_ID_MAX = 128,                   /* characters of a linkId or address on the wire */
        LINK_MESSAGE_MAX = 16 * 1024 * 1024, /* bytes of one spliced message */
};

typedef enum ControlType {
        CONTROL_UNKNOWN = 0, /* a string type that is none of these */
        CONTROL_REGISTER,
        CONTROL_REGISTERED,
        CONTROL_RESOLVE,
        CONTROL_FOUND,
        CONTROL_ARRIVED,
        CONTROL_RELAY,
        CONTROL_ACCEPT,
        CONTROL_RELAYING,
        CONTROL_GET_USAGE,
        CONTROL_USAGE,
        CONTROL_ERROR,
} ControlType;

/* Close codes of Link, beside those of RFC 6455. */
enum {
        CLOSE_BAD_REQUEST = 4000,
        CLOSE_RATE_LIMITED = 4002,
        CLOSE_PEER_GONE = 4003,
        CLOSE_IDLE = 4004,
        CLOSE_REPLACED = 4005,
        CLOSE_SLOW_PEER = 4006,
        CLOSE_REGISTER_AUTH = 4007,
        CLOSE_REGISTER_UNAUTHORIZED = 4010,
};

/* A decoded message. Strings are copied and their escapes resolved; slices point into the text.
 * address, link_id: empty when absent, not a string, or not 1..128 characters (UTF-16 units are not
 * counted: code points). */
typedef struct ControlMessage {
        ControlType type;
        char address[LINK_ID_MAX * 4 + 1];
        char link_id[LINK_ID_MAX * 4 + 1];
        char error[64]; /* of an `error` message; cut to fit, "" if none */
        JsonSlice auth;
        JsonSlice connections;
} ControlMessage;

/* Decodes a text frame. 0; -EBADMSG: not one JSON object in UTF-8 with a string `type`. */
int control_decode(const char *text, size_t len, ControlMessage *ret) _must_use_;

/* Name of a type as it stands in `type`; NULL for CONTROL_UNKNOWN. */
const char *control_type_name(ControlType t);

/* Writes a message of a type with at most one of each member (NULL: none) as
 * {"type":…,"linkId":…,"address":…,"error":…}. The length (without the NUL), or -ENOBUFS. */
int control_encode(ControlType t, const char *link_id, const char *address, const char *error,
                   char *out, size_t size) _must_use_;
