/* The application envelope inside a sealed frame (PROTOCOL.md "Envelope").
 *
 *   framed: 01 | u32be(metaLen) | meta | payload        legacy: the plaintext is the meta, '{'
 * first
 *
 * JSON values are cut out of the meta as raw text and never rewritten. */
#pragma once

#include "buf.h"
#include "json.h"

typedef enum EnvelopeType {
        ENVELOPE_IGNORED = 0, /* an unknown, missing or non-string t */
        ENVELOPE_REQ,
        ENVELOPE_RES,
        ENVELOPE_EVT,
        ENVELOPE_CAP,
} EnvelopeType;

/* Slices point into the plaintext. */
typedef struct Envelope {
        EnvelopeType type;
        JsonSlice id;    /* req, res: raw number text; p = NULL if absent or no number */
        JsonSlice body;  /* req: cmd; res: data; evt: data. "null" if absent, never p = NULL */
        JsonSlice error; /* res: p = NULL if absent */
        bool ok;         /* res: ok is true */
        bool cap_framed; /* cap: env is an array that holds 1 */
        const uint8_t *payload; /* evt: NULL if none */
        size_t payload_len;
} Envelope;

/* The first message of either side, always in the legacy form. */
extern const char envelope_cap[]; /* {"t":"cap","env":[1]} */

/* 0; -EBADMSG: the session ends. */
int envelope_decode(const uint8_t *plain, size_t len, Envelope *ret) _must_use_;

/* Append a plaintext to b, in the framed form or the legacy one. cmd, data are valid JSON text,
 * taken as it stands; error is plain UTF-8 and gets quoted. id: number text. Check buf_ok(). A
 * payload needs framed = true; the caller has checked that. */
void envelope_req(Buf *b, bool framed, uint64_t id, JsonSlice cmd);
void envelope_res_ok(Buf *b, bool framed, JsonSlice id, JsonSlice data);
void envelope_res_error(Buf *b, bool framed, JsonSlice id, const char *error, size_t error_len);
/* The same with a JSON string that somebody else wrote: it goes out as it stands, so that lone
 * surrogates and NULs in it arrive as they were sent. */
void envelope_res_error_json(Buf *b, bool framed, JsonSlice id, JsonSlice error);
void envelope_evt(Buf *b, bool framed, JsonSlice data, const uint8_t *payload, size_t payload_len);
