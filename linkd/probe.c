#include "probe.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <strings.h>

#include "clock.h"
#include "liblinkproto/inviteuri.h"
#include "limits.h"
#include "text.h"

/* A lookup and a socket outlive a probe that is given up: they let go of it and end by themselves.
 */
typedef struct Lookup {
        uv_getaddrinfo_t req;
        Probe *probe; /* NULL: given up */
} Lookup;

typedef struct Attempt {
        uv_tcp_t tcp;
        uv_connect_t connect;
        uv_write_t write;
        Probe *probe; /* NULL: given up, or done with */
} Attempt;

struct Probe {
        Agent *agent;
        char *url;
        RelayUrl parts;
        ProbeFunc func;
        void *userdata;
        ProbeResult result;
        ProbeStepName step;
        uint64_t step_began;
        Timer *timer;
        Lookup *lookup;
        struct addrinfo *addresses, *next_address;
        Attempt *attempt;
        char request[400];
        char answer[PROBE_ANSWER_BYTES + 1];
        size_t answer_len;
        Ws *ws;
};

const char *probe_step_name(ProbeStepName step)
{
        static const char *const names[] = {
                [PROBE_NAME] = "name",
                [PROBE_CONNECT] = "connect",
                [PROBE_HEALTH] = "health",
                [PROBE_UPGRADE] = "upgrade",
        };
        return names[step];
}

static void on_attempt_closed(uv_handle_t *handle)
{
        free(container_of((uv_tcp_t *)handle, Attempt, tcp));
}

static Attempt *attempt_free(Attempt *t)
{
        if (!t)
                return NULL;
        t->probe = NULL;
        uv_close((uv_handle_t *)&t->tcp, on_attempt_closed);
        return NULL;
}

Probe *probe_free(Probe *p)
{
        if (!p)
                return NULL;
        if (p->lookup)
                p->lookup->probe = NULL;
        attempt_free(p->attempt);
        uv_freeaddrinfo(p->addresses);
        timer_free(p->timer);
        ws_free(p->ws);
        free(p->url);
        free(p);
        return NULL;
}

/* ---- steps ---- */

static void begin(Probe *p, ProbeStepName step)
{
        p->step = step;
        p->step_began = uv_now(p->agent->loop);
        timer_start(p->timer, PROBE_STEP_MSEC);
}

static void end(Probe *p, bool ok, const char *detail)
{
        ProbeStep *s = &p->result.steps[p->step];

        timer_stop(p->timer);
        s->done = true;
        s->ok = ok;
        s->msec = (unsigned)(uv_now(p->agent->loop) - p->step_began);
        (void)snprintf(s->detail, sizeof(s->detail), "%s", detail); /* cut is fine */
}

/* The last step is over. */
static void finish(Probe *p)
{
        p->func(p->userdata, &p->result);
        probe_free(p);
}

/* ---- clock ---- */

/* The Date in an answer's head; 0: there is none, or none that can be read. */
static int64_t find_date_msec(const char *head)
{
        int64_t msec = 0;
        char text[40];

        for (const char *line = head; (line = strstr(line, "\r\n"));) {
                line += 2;
                if (*line == '\r')
                        return 0; /* the end of the head */
                if (strncasecmp(line, "date:", 5) != 0)
                        continue;
                line += 5;
                line += strspn(line, " \t");
                (void)snprintf(text, sizeof(text), "%.*s", (int)strcspn(line, "\r"),
                               line); /* one that is cut is none */
                return clock_parse_http_date(text, &msec) < 0 ? 0 : msec;
        }
        return 0;
}

/* Once: the first step that hears the relay's time. */
static void take_date(Probe *p, int64_t msec)
{
        if (!msec || p->result.has_date)
                return;
        p->result.has_date = true;
        p->result.clock_offset_msec = agent_clock_msec() - msec;
}

/* ---- upgrade ---- */

static void on_open(void *userdata)
{
        Probe *p = userdata;

        take_date(p, ws_server_date_msec(p->ws)); /* by wss:// there was no GET */
        end(p, true, "");
        finish(p);
}

static void on_message(void *userdata, bool text, uint8_t *data, size_t len)
{
        (void)userdata; /* a relay says nothing before it is asked */
        (void)text;
        (void)data;
        (void)len;
}

static void on_closed(void *userdata, unsigned code, const char *reason)
{
        char text[128];

        (void)snprintf(text, sizeof(text), code ? "%s (%u)" : "%s", reason, code); /* cut is fine */
        end(userdata, false, text);
        finish(userdata);
}

static const WsHandler ws_handler = {
        .on_open = on_open,
        .on_message = on_message,
        .on_closed = on_closed,
};

static void begin_upgrade(Probe *p)
{
        int r;

        begin(p, PROBE_UPGRADE);
        r = ws_dial(&p->ws, p->agent->ws, p->url, NULL, PROBE_STEP_MSEC, &ws_handler, p);
        if (r < 0) {
                end(p, false, strerror(-r));
                timer_start(p->timer, 0); /* not on this stack: it may be the caller's */
        }
}

/* ---- health ---- */

static void end_health(Probe *p)
{
        char text[64];

        p->attempt = attempt_free(p->attempt);
        if (strncmp(p->answer, "HTTP/1.1 200", 12) == 0 ||
            strncmp(p->answer, "HTTP/1.0 200", 12) == 0) {
                end(p, true, "");
        } else {
                (void)snprintf(text, sizeof(text), "it answers %.*s",
                               (int)MIN(strcspn(p->answer, "\r\n"), (size_t)48), p->answer);
                text_make_printable(text);
                end(p, false, p->answer[0] ? text : "it hangs up");
        }
        take_date(p, find_date_msec(p->answer));
        begin_upgrade(p);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
        Attempt *t = container_of((uv_tcp_t *)handle, Attempt, tcp);
        Probe *p = t->probe;

        (void)suggested;
        *buf = p ? uv_buf_init(p->answer + p->answer_len,
                               (unsigned)(PROBE_ANSWER_BYTES - p->answer_len))
                 : uv_buf_init(NULL, 0);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
        Attempt *t = container_of((uv_tcp_t *)stream, Attempt, tcp);
        Probe *p = t->probe;

        (void)buf;
        if (!p || n == 0)
                return;
        if (n > 0) {
                p->answer_len += (size_t)n;
                p->answer[p->answer_len] = '\0';
                if (p->answer_len < PROBE_ANSWER_BYTES && !strstr(p->answer, "\r\n\r\n"))
                        return;
        }
        end_health(p);
}

static void on_written(uv_write_t *req, int status)
{
        (void)req; /* a failure shows at the read */
        (void)status;
}

static void begin_health(Probe *p)
{
        uv_stream_t *stream = (uv_stream_t *)&p->attempt->tcp;
        uv_buf_t buf;

        begin(p, PROBE_HEALTH);
        (void)snprintf(p->request, sizeof(p->request),
                       "GET /health HTTP/1.1\r\nHost: %s\r\nUser-Agent: linkd/" LINK_VERSION
                       "\r\nConnection: close\r\n\r\n",
                       p->parts.origin); /* fits */
        buf = uv_buf_init(p->request, (unsigned)strlen(p->request));
        if (uv_read_start(stream, on_alloc, on_read) < 0 ||
            uv_write(&p->attempt->write, stream, &buf, 1, on_written) < 0)
                end_health(p);
}

/* ---- connection ---- */

static void connect_next(Probe *p, int error);

static void address_text(const struct addrinfo *i, char *out, size_t size)
{
        int r = i->ai_family == AF_INET
                        ? uv_ip4_name((const struct sockaddr_in *)(const void *)i->ai_addr, out,
                                      size)
                        : uv_ip6_name((const struct sockaddr_in6 *)(const void *)i->ai_addr, out,
                                      size);

        if (r < 0)
                (void)snprintf(out, size, "?"); /* fits */
}

static void on_connected(uv_connect_t *req, int status)
{
        Attempt *t = container_of(req, Attempt, connect);
        Probe *p = t->probe;
        char text[64];

        if (!p)
                return;
        if (status < 0) {
                p->attempt = attempt_free(p->attempt);
                p->next_address = p->next_address->ai_next;
                connect_next(p, status);
                return;
        }
        address_text(p->next_address, text, sizeof(text));
        end(p, true, text);
        if (!p->parts.tls) {
                begin_health(p);
                return;
        }
        p->attempt = attempt_free(p->attempt);
        begin_upgrade(p);
}

/* error: of the address before; 0: there was none. */
static void connect_next(Probe *p, int error)
{
        Attempt *t;
        int r;

        if (!p->next_address) {
                end(p, false, error ? uv_strerror(error) : "there is no address");
                begin_upgrade(p);
                return;
        }
        t = calloc(1, sizeof(*t));
        if (!t || uv_tcp_init(p->agent->loop, &t->tcp) < 0) {
                free(t);
                end(p, false, "out of memory");
                begin_upgrade(p);
                return;
        }
        t->probe = p;
        p->attempt = t;
        r = uv_tcp_connect(&t->connect, &t->tcp, p->next_address->ai_addr, on_connected);
        if (r < 0) {
                p->attempt = attempt_free(t);
                p->next_address = p->next_address->ai_next;
                connect_next(p, r); /* as deep as there are addresses: PROBE_ADDRESSES_MAX */
        }
}

/* ---- name ---- */

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
        Lookup *lookup = container_of(req, Lookup, req);
        Probe *p = lookup->probe;
        unsigned n = 0;

        free(lookup);
        if (!p) {
                uv_freeaddrinfo(list);
                return;
        }
        p->lookup = NULL;
        if (status < 0) {
                end(p, false, uv_strerror(status));
                begin_upgrade(p);
                return;
        }
        p->addresses = p->next_address = list;
        for (struct addrinfo *i = list; i; i = i->ai_next)
                if (++n == PROBE_ADDRESSES_MAX && i->ai_next) {
                        uv_freeaddrinfo(i->ai_next);
                        i->ai_next = NULL;
                }
        end(p, true, "");
        begin(p, PROBE_CONNECT);
        connect_next(p, 0);
}

static int begin_name(Probe *p)
{
        const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
        char port[8];
        int r;

        p->lookup = calloc(1, sizeof(*p->lookup));
        if (!p->lookup)
                return -ENOMEM;
        p->lookup->probe = p;
        (void)snprintf(port, sizeof(port), "%u", (unsigned)p->parts.port); /* fits */
        begin(p, PROBE_NAME);
        r = uv_getaddrinfo(p->agent->loop, &p->lookup->req, on_resolved, p->parts.host, port,
                           &hints);
        if (r < 0) {
                free(p->lookup);
                p->lookup = NULL;
        }
        return r;
}

/* ---- life ---- */

static void on_timer(void *userdata)
{
        Probe *p = userdata;

        if (p->step == PROBE_UPGRADE) {
                if (!p->result.steps[PROBE_UPGRADE].done) /* else it could not even begin */
                        end(p, false, "timed out");
                finish(p);
                return;
        }
        if (p->lookup)
                p->lookup->probe = NULL;
        p->lookup = NULL;
        p->attempt = attempt_free(p->attempt);
        end(p, false, "timed out");
        begin_upgrade(p);
}

int probe_start(Probe **ret, Agent *a, const char *url, ProbeFunc func, void *userdata)
{
        Probe *p = calloc(1, sizeof(*p));
        int r;

        if (!p)
                return -ENOMEM;
        p->agent = a;
        p->func = func;
        p->userdata = userdata;
        p->url = strdup(url);
        p->timer = timer_new(a->loop, on_timer, p);
        r = !p->url || !p->timer ? -ENOMEM : relay_url_split(url, &p->parts);
        if (r == 0)
                r = begin_name(p);
        if (r < 0) {
                probe_free(p);
                return r;
        }
        *ret = p;
        return 0;
}
