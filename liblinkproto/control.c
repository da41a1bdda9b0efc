#include "control.h"

#include <errno.h>
#include <stdio.h>

#include "buf.h"

static const char *const type_names[] = {
        [CONTROL_UNKNOWN] = NULL,
        [CONTROL_REGISTER] = "register",
        [CONTROL_REGISTERED] = "registered",
        [CONTROL_RESOLVE] = "resolve",
        [CONTROL_FOUND] = "found",
        [CONTROL_ARRIVED] = "arrived",
        [CONTROL_RELAY] = "relay",
        [CONTROL_ACCEPT] = "accept",
        [CONTROL_RELAYING] = "relaying",
        [CONTROL_GET_USAGE] = "getUsage",
        [CONTROL_USAGE] = "usage",
        [CONTROL_ERROR] = "error",
};

const char *control_type_name(ControlType t)
{
        return type_names[t];
}

static ControlType type_of(JsonSlice v)
{
        for (size_t i = 1; i < ELEMENTSOF(type_names); i++)
                if (json_str_eq(v, type_names[i]))
                        return (ControlType)i;
        return CONTROL_UNKNOWN;
}

/* A string of 1..128 code points, or "". A NUL inside is read as SUB: neither is in a name that
 * exists. */
static void copy_id(JsonSlice v, char *out, size_t size)
{
        enum { SUB = 0x1a };
        size_t len, chars = 0;

        if (json_str_copy(v, out, size, &len) < 0) {
                out[0] = '\0';
                return;
        }
        for (size_t i = 0; i < len; i++) {
                chars += ((unsigned char)out[i] & 0xc0) != 0x80;
                if (!out[i])
                        out[i] = SUB;
        }
        if (chars > LINK_ID_MAX)
                out[0] = '\0';
}

/* Where the last character of the n bytes of UTF-8 at s begins, if it was cut in the middle; else
 * n. */
static size_t whole_characters(const char *s, size_t n)
{
        size_t at = n;
        unsigned char lead;

        while (at && ((unsigned char)s[at - 1] & 0xc0) == 0x80)
                at--;
        if (at == 0)
                return n;
        lead = (unsigned char)s[--at];
        return n - at < (lead >= 0xf0 ? 4U : lead >= 0xe0 ? 3U : lead >= 0xc0 ? 2U : 1U) ? at : n;
}

/* A string, cut at a character if it is longer. */
static void copy_cut(JsonSlice v, char *out, size_t size)
{
        size_t len;

        memset(out, 0, size);
        if (json_str_copy(v, out, size, &len) == -ENOBUFS) /* the beginning stands there */
                out[whole_characters(out, strlen(out))] = '\0';
}

int control_decode(const char *text, size_t len, ControlMessage *ret)
{
        enum { TYPE, ADDRESS, LINK_ID, ERROR, AUTH, CONNECTIONS, N };
        static const char *const names[N] = {"type",  "address", "linkId",
                                             "error", "auth",    "connections"};
        JsonSlice v[N];

        if (json_scan_object(text, len, names, v, N) < 0 || !json_is_string(v[TYPE]))
                return -EBADMSG;
        ret->type = type_of(v[TYPE]);
        copy_id(v[ADDRESS], ret->address, sizeof(ret->address));
        copy_id(v[LINK_ID], ret->link_id, sizeof(ret->link_id));
        copy_cut(v[ERROR], ret->error, sizeof(ret->error));
        ret->auth = v[AUTH];
        ret->connections = v[CONNECTIONS];
        return 0;
}

int control_encode(ControlType t, const char *link_id, const char *address, const char *error,
                   char *out, size_t size)
{
        Buf b = {};
        int r;

        buf_add_str(&b, "{");
        buf_json_member_str(&b, "type", type_names[t]);
        if (link_id)
                buf_json_member_str(&b, "linkId", link_id);
        if (address)
                buf_json_member_str(&b, "address", address);
        if (error)
                buf_json_member_str(&b, "error", error);
        buf_add_str(&b, "}");
        r = buf_ok(&b);
        if (r == 0 && b.len >= size)
                r = -ENOBUFS;
        if (r == 0) {
                memcpy(out, b.data, b.len);
                out[b.len] = '\0';
                r = (int)b.len;
        }
        buf_done(&b);
        return r;
}
