/* What the application reads off a session, and sets on it. */
#include "linkipc-internal.h"

static const char *text_or_empty(const char *text)
{
        return text ? text : "";
}

_public_ int linkipc_session_get_state(const linkipc_session *s)
{
        return s ? s->state : -EINVAL;
}

_public_ linkipc *linkipc_session_get_connection(const linkipc_session *s)
{
        return s ? s->link : NULL;
}

_public_ int linkipc_session_is_framed(const linkipc_session *s)
{
        return s && s->framed;
}

_public_ int linkipc_session_is_incoming(const linkipc_session *s)
{
        return s && s->incoming;
}

_public_ int linkipc_session_error(const linkipc_session *s)
{
        return s ? s->error.error : -EINVAL;
}

_public_ const char *linkipc_session_error_word(const linkipc_session *s)
{
        return text_or_empty(s ? s->error.word : NULL);
}

_public_ const char *linkipc_session_error_message(const linkipc_session *s)
{
        return text_or_empty(s ? s->error.message : NULL);
}

_public_ const char *linkipc_session_get_peer(const linkipc_session *s)
{
        return text_or_empty(s ? s->peer : NULL);
}

_public_ const char *linkipc_session_get_host(const linkipc_session *s)
{
        return text_or_empty(s ? s->host : NULL);
}

_public_ const char *linkipc_session_get_key_id(const linkipc_session *s)
{
        return text_or_empty(s ? s->key_id : NULL);
}

_public_ const char *linkipc_session_get_label(const linkipc_session *s)
{
        return text_or_empty(s ? s->label : NULL);
}

_public_ const char *linkipc_session_get_info(const linkipc_session *s)
{
        return text_or_empty(s ? s->info : NULL);
}

_public_ void linkipc_session_set_userdata(linkipc_session *s, void *userdata)
{
        if (s)
                s->userdata = userdata;
}

_public_ void *linkipc_session_get_userdata(const linkipc_session *s)
{
        return s ? s->userdata : NULL;
}

_public_ size_t linkipc_session_get_credit(const linkipc_session *s)
{
        if (!s || !s->link || s->link->broken.error != 0 || s->closing || s->send_balance <= 0)
                return 0;
        return (size_t)s->send_balance;
}

_public_ void linkipc_session_hold(linkipc_session *s)
{
        if (s)
                s->held = true;
}

_public_ void linkipc_session_release(linkipc_session *s)
{
        if (!s || !s->held)
                return;
        s->held = false;
        if (s->link)
                session_give_credit(s);
}

/* ---- handlers: of the connection, and of a session ---- */

#define DEFINE_SETTERS(kind)                                                                       \
        _public_ void linkipc_on_##kind(linkipc *l, linkipc_##kind##_func func, void *userdata)    \
        {                                                                                          \
                if (!l)                                                                            \
                        return;                                                                    \
                l->handlers.kind = func;                                                           \
                l->handlers.kind##_data = userdata;                                                \
        }                                                                                          \
        _public_ void linkipc_session_on_##kind(linkipc_session *s, linkipc_##kind##_func func,    \
                                                void *userdata)                                    \
        {                                                                                          \
                if (!s)                                                                            \
                        return;                                                                    \
                s->handlers.kind = func;                                                           \
                s->handlers.kind##_data = userdata;                                                \
        }

DEFINE_SETTERS(state)
DEFINE_SETTERS(event)
DEFINE_SETTERS(request)
DEFINE_SETTERS(writable)
