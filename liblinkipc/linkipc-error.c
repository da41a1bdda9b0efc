#include <stdio.h>

#include "linkipc-internal.h"

typedef struct Word {
        const char *word;
        int error;
        const char *message; /* of a local failure */
} Word;

/* docs/IPC.md "Error words": what the agent says. */
static const Word agent_words[] = {
        {"protocol", EPROTO, "the agent broke the protocol"},
        {"version", EPROTONOSUPPORT,
         "the agent speaks no version of the protocol that is known here"},
        {"flow", ENOBUFS, NULL},
        {"tooMany", EUSERS, NULL},
        {"forbidden", EACCES, NULL},
        {"noSuchMethod", EOPNOTSUPP, NULL},
        {"badRequest", EINVAL, "an argument makes no sense"},
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
        {"closed", ECONNRESET, NULL},
        {"badPeer", EBADMSG, NULL},
        {"noPayload", ENOTSUP, NULL},
        {"tooBig", EMSGSIZE, "the message is over 16 MiB"},
        {"storage", EIO, NULL},
        {"internal", ENOMEM, "out of memory"},
};

/* What the library says where the agent has no word, or means something else by it. */
static const Word local_words[] = {
        {"disconnected", ECONNRESET, "the agent has ended the connection"},
        {"tooMany", ENOBUFS, "too many operations are unanswered"},
        {"flow", EAGAIN, "the other side has not yet taken what was sent before"},
        {"closed", ENOTCONN, "the session is closed"},
        {"noSuch", ENOENT, "there is no such operation"},
        {"remote", EREMOTEIO, "the other end answered an error"},
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

static const Word *find_local(int error)
{
        for (size_t i = 0; i < ELEMENTSOF(local_words); i++)
                if (local_words[i].error == -error)
                        return &local_words[i];
        for (size_t i = 0; i < ELEMENTSOF(agent_words); i++)
                if (agent_words[i].error == -error)
                        return &agent_words[i];
        return NULL;
}

void err_set(Err *e, int error, const char *word, const char *message)
{
        const Word *known = find_local(error);

        if (!word)
                word = known ? known->word : "internal";
        if (!message && known)
                message = known->message;
        if (!message)
                message = strerrordesc_np(-error);
        err_replace(e, error, strdup(word), strdup(message ? message : "unknown error"));
}

void err_copy(Err *to, const Err *from)
{
        if (to != from)
                err_replace(to, from->error, from->word ? strdup(from->word) : NULL,
                            from->message ? strdup(from->message) : NULL);
}

static int error_of_word(IpcStr word)
{
        for (size_t i = 0; i < ELEMENTSOF(agent_words); i++)
                if (ipc_str_eq(word, agent_words[i].word))
                        return -agent_words[i].error;
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
        _cleanup_(freep) char *text = strndup(message.p, message.n);
        if (word.n == 0)
                err_set(e, error, NULL, text);
        else
                err_replace(e, error, strndup(word.p, word.n), TAKE_PTR(text));
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
