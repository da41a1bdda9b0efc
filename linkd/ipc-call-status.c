/* The methods that tell how things are. */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "describe.h"
#include "ipc-call-internal.h"

/* An element of a list. */
static void open_object(Buf *out)
{
        buf_json_comma(out);
        buf_add_str(out, "{");
}

static void add_hosts(Buf *out, const Agent *a)
{
        buf_json_name(out, "hosts");
        buf_add_str(out, "[");
        for (const Host *h = a->hosts; h; h = h->next) {
                open_object(out);
                describe_host(out, h);
                buf_add_str(out, "}");
        }
        buf_add_str(out, "]");
}

static void add_peers(Buf *out, const Agent *a)
{
        buf_json_name(out, "peers");
        buf_add_str(out, "[");
        for (const Peer *p = a->peers; p; p = p->next) {
                open_object(out);
                describe_peer(out, p);
                buf_add_str(out, "}");
        }
        buf_add_str(out, "]");
}

static void add_sessions(Buf *out, const Agent *a)
{
        buf_json_name(out, "sessions");
        buf_add_str(out, "[");
        for (const Peer *p = a->peers; p; p = p->next)
                for (const PeerLink *l = p->links; l; l = l->next) {
                        open_object(out);
                        describe_peer_session(out, l);
                        buf_add_str(out, "}");
                }
        for (const Host *h = a->hosts; h; h = h->next)
                for (const HostSession *s = h->sessions; s; s = s->next) {
                        open_object(out);
                        describe_host_session(out, s);
                        buf_add_str(out, "}");
                }
        buf_add_str(out, "]");
}

static void add_problem(Buf *out, const char *format, ...) _printf_(2, 3);
static void add_problem(Buf *out, const char *format, ...)
{
        _cleanup_(freep) char *text = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0) /* not cut: half a character is no UTF-8 */
                text = NULL;
        va_end(ap);
        if (!text) {
                out->failed = true;
                return;
        }
        buf_json_comma(out);
        buf_json_str(out, text, strlen(text));
}

static void add_problems(Buf *out, const Agent *a)
{
        buf_json_name(out, "problems");
        buf_add_str(out, "[");
        if (store_last_error(a->store) < 0)
                add_problem(out, "the state directory %s could not be written: %s; %s",
                            store_dir(a->store), strerror(-store_last_error(a->store)),
                            store_remedy(store_last_error(a->store)));
        for (const Unreadable *u = a->unreadable; u; u = u->next)
                add_problem(out, "%s; it is left in place", u->text);
        for (const Host *h = a->hosts; h; h = h->next) {
                if (!h->uplinks && (h->n_devices || h->invitations))
                        add_problem(out, "host %s has no relay: run `linkctl uplink add URL`",
                                    h->name);
                for (const Uplink *u = h->uplinks; u; u = u->next)
                        if (u->state != UPLINK_REGISTERED && u->cause[0])
                                add_problem(out, "relay %s: %s", u->url, u->cause);
        }
        for (const Peer *p = a->peers; p; p = p->next)
                if (p->state == PEER_REVOKED || p->state == PEER_UNREACHABLE)
                        add_problem(out, "peer %s is %s%s%s", p->name, peer_state_name(p->state),
                                    p->cause[0] ? ": " : "", p->cause);
        buf_add_str(out, "]");
}

void call_status(Call *call)
{
        Buf *out = &call->result;

        buf_json_member_str(out, "version", LINK_VERSION);
        buf_json_member_int(out, "pid", getpid());
        describe_time(out, "startedAt", call->agent->started_at);
        buf_json_member_str(out, "stateDir", store_dir(call->agent->store));
        add_hosts(out, call->agent);
        add_peers(out, call->agent);
        add_sessions(out, call->agent);
        add_problems(out, call->agent);
}

void call_host_list(Call *call)
{
        add_hosts(&call->result, call->agent);
}

void call_peers(Call *call)
{
        add_peers(&call->result, call->agent);
}
