#include "ipc-words.h"

#include <errno.h>

static const struct {
        const char *word;
        int error;
} words[] = {
        {"protocol", EPROTO},
        {"version", EPROTONOSUPPORT},
        {"flow", ENOBUFS},
        {"tooMany", EUSERS},
        {"forbidden", EACCES},
        {"noSuchMethod", EOPNOTSUPP},
        {"badRequest", EINVAL},
        {"noSuchHost", ENOENT},
        {"noSuchPeer", ENOENT},
        {"noSuchDevice", ENOENT},
        {"noSuchUplink", ENOENT},
        {"noSuchInvitation", ENOENT},
        {"exists", EEXIST},
        {"ambiguous", ENOTUNIQ},
        {"busy", EBUSY},
        {"noUplink", EDESTADDRREQ},
        {"wrongCode", EKEYREJECTED},
        {"revoked", EKEYREVOKED},
        {"unreachable", EHOSTUNREACH},
        {"timeout", ETIMEDOUT},
        {"closed", ECONNRESET},
        {"badPeer", EBADMSG},
        {"noPayload", ENOTSUP},
        {"tooBig", EMSGSIZE},
        {"storage", EIO},
        {"internal", ENOMEM},
};

uint32_t ipc_error_of_word(const char *word)
{
        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (strcmp(words[i].word, word) == 0)
                        return (uint32_t)words[i].error;
        return 0;
}
