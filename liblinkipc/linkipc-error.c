#include <stdio.h>

#include "linkipc-internal.h"

/* docs/IPC.md "Error words"; the first word of an errno is also what a local failure is called. */
static const struct {
        const char *word;
        int error;
        const char *message; /* of a local failure */
} words[] = {
        {"disconnected", ECONNRESET, "the agent has ended the connection"},
        {"protocol", EPROTO, "the agent broke the protocol"},
        {"version", EPROTONOSUPPORT, "the agent speaks no version of the protocol that is known here"},
        {"tooMany", ENOBUFS, "too many operations are unanswered"},
        {"flow", EAGAIN, "the other side has not yet taken what was sent before"},
        {"tooMany", EUSERS, NULL},
        {"forbidden", EACCES, NULL},
        {"noSuchMethod", EOPNOTSUPP, NULL},
        {"badRequest", EINVAL, "an argument makes no sense"},
        {"noSuch", ENOENT, "there is no such operation"},
        {"noSuchHost", ENOENT, NULL},
        {"noSuchPeer", ENOENT, NULL},
        {"noSuchDevice", ENOENT, NULL},
        {"noSuchUplink", ENOENT, NULL},
        {"noSuchInvitation", ENOENT, NULL},
        {"exists", EEXIST, NULL},
        {"ambiguous", ENOTUNIQ, NULL},
        {"busy", EBUSY, "linkipc_process() is running already"},
        {"noUplink", EDESTADDRREQ, NULL},
        {"wrongCode", EKEYREJECTED, NULL},
        {"revoked", EKEYREVOKED, NULL},
        {"unreachable", EHOSTUNREACH, NULL},
        {"timeout", ETIMEDOUT, "no answer in time"},
        {"closed", ENOTCONN, "the session is closed"},
        {"closed", ECONNRESET, NULL},
        {"badPeer", EBADMSG, NULL},
        {"noPayload", ENOTSUP, NULL},
        {"tooBig", EMSGSIZE, "the message is over 16 MiB"},
        {"storage", EIO, NULL},
        {"internal", ENOMEM, "out of memory"},
        {"flow", ENOBUFS, NULL},
        {"canceled", ECANCELED, "the operation was given up"},
        {"deadlock", EDEADLK, "a blocking call from within a callback"},
        {"answered", EALREADY, "the request was answered before"},
};

void err_done(Err *e)
{
        free(e->word);
        free(e->message);
        *e = (Err){0};
}

/* Takes the strings over. */
static void err_replace(Err *e, int error, char *word, char *message)
{
        err_done(e);
        *e = (Err){.error = error, .word = word, .message = message};
}

void err_set(Err *e, int error, const char *word, const char *message)
{
        for (size_t i = 0; i < ELEMENTSOF(words) && (!word || !message); i++) {
                if (words[i].error != -error)
                        continue;
                if (!word)
                        word = words[i].word;
                if (!message)
                        message = words[i].message;
        }
        err_replace(e, error, strdup(word ? word : "internal"),
                    strdup(message ? message : strerrordesc_np(-error) ? strerrordesc_np(-error) : ""));
}

void err_copy(Err *to, const Err *from)
{
        if (to != from)
                err_replace(to, from->error, from->word ? strdup(from->word) : NULL,
                            from->message ? strdup(from->message) : NULL);
}

static int error_of_word(IpcStr word)
{
        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                /* `closed` and `flow` are the agent's meaning, not the local one. */
                if (ipc_str_eq(word, words[i].word) && words[i].error != ENOTCONN &&
                    words[i].error != EAGAIN)
                        return -words[i].error;
        return -EIO;
}

void err_set_remote(Err *e, IpcStr word, IpcStr message, uint32_t error_no)
{
        enum { ERRNO_MAX = 4095 }; /* of Linux */

        if (word.n == 0 && error_no == 0) {
                err_done(e);
                return;
        }
        int error = error_no > 0 && error_no <= ERRNO_MAX ? -(int)error_no : error_of_word(word);
        err_replace(e, error, strndup(word.p, word.n), strndup(message.p, message.n));
}

linkipc_result err_result(const Err *e)
{
        return (linkipc_result){
                .error = e->error,
                .word = e->word ? e->word : "",
                .message = e->message ? e->message : "",
                .json = "",
        };
}

int link_error(linkipc *l, int error, const char *message)
{
        if (l)
                err_set(&l->last, error, NULL, message);
        return error;
}

_public_ const char *linkipc_error_word(const linkipc *l)
{
        return l && l->last.word ? l->last.word : "";
}

_public_ const char *linkipc_error_message(const linkipc *l)
{
        return l && l->last.message ? l->last.message : "";
}
