#include "header.h"

#include <errno.h>

enum { FIELDS_AT = 6 };

static const uint8_t magic[4] = {'F', 'L', 'k', '1'};
const uint8_t header_refusal[REFUSAL_BYTES] = {'F', 'L', 'k', '1', 0, 1};

int header_decode(const uint8_t *frame, size_t len, Header *ret)
{
        Header h = {};
        uint8_t version;

        if (len < FIELDS_AT || memcmp(frame, magic, sizeof(magic)) != 0)
                return -EBADMSG;
        version = frame[4];
        if (version != 1 && version != 2)
                return -EBADMSG;
        switch (frame[5]) {
        case HEADER_PAIR:
                h.mode = HEADER_PAIR;
                h.has_code_id = version == 2;
                if (h.has_code_id && len < FIELDS_AT + CODE_ID_BYTES)
                        return -EBADMSG;
                if (h.has_code_id)
                        memcpy(h.code_id, frame + FIELDS_AT, CODE_ID_BYTES);
                break;
        case HEADER_RECOVER:
                h.mode = HEADER_RECOVER;
                if (version != 1)
                        return -EBADMSG;
                break;
        case HEADER_RECONNECT:
                h.mode = HEADER_RECONNECT;
                if (len < FIELDS_AT + KEY_ID_BYTES)
                        return -EBADMSG;
                memcpy(h.key_id, frame + FIELDS_AT, KEY_ID_BYTES);
                break;
        default:
                return -EBADMSG;
        }
        *ret = h;
        return 0;
}

size_t header_encode(const Header *h, uint8_t out[HEADER_BYTES_MAX])
{
        size_t n = FIELDS_AT;

        memcpy(out, magic, sizeof(magic));
        out[4] = h->has_code_id ? 2 : 1;
        out[5] = (uint8_t)h->mode;
        if (h->has_code_id) {
                memcpy(out + n, h->code_id, CODE_ID_BYTES);
                n += CODE_ID_BYTES;
        } else if (h->mode == HEADER_RECONNECT) {
                memcpy(out + n, h->key_id, KEY_ID_BYTES);
                n += KEY_ID_BYTES;
        }
        return n;
}
