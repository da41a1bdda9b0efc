/* The library at both ends of the real thing: home and laptop, each with a linkd of its own, and a
 * link-relay between them. An application in a thread of its own serves home. */
#include <signal.h>

#include "agent.h"
#include "daemon.h"

static const char *linkd_path, *relay_path;

/* What the application at home has to send, and may not yet. */
typedef struct Echo {
        struct Echo *next;
        linkipc_reply *reply; /* NULL: an event */
        char *data;
        uint8_t *payload;
        size_t payload_len;
} Echo;

typedef struct Place {
        Daemon relay, home, laptop;
        linkipc *to_home; /* administers home */
        linkipc *link;    /* the application on the laptop */
        linkipc *server;  /* in the thread */
        pthread_t thread;
        linkipc_reply *kept; /* by the thread */
        Echo *echoes;        /* of the one session there is at a time; oldest first */
        int stop[2];         /* a pipe: closing its end stops the thread */
        char *key_id;
} Place;

/* ---- the application at home ---- */

static void free_echo(Echo *e)
{
        linkipc_reply_unref(e->reply);
        free(e->data);
        free(e->payload);
        free(e);
}

/* Sends an answer or an event: 0, or -EAGAIN. */
static int send_echo(linkipc_session *s, Echo *e)
{
        int r = e->reply ? linkipc_reply_ok(e->reply, e->data)
                         : linkipc_send_async(s, e->data, e->payload, e->payload_len, NULL, NULL,
                                              NULL);

        if (r == -EAGAIN)
                return r;
        assert_true(r == 0 || (e->reply && r == -ECANCELED));
        free_echo(e);
        return 0;
}

/* Sends at once, or when there is credit again; until then no more is asked for. */
static void echo(Place *p, linkipc_session *s, linkipc_reply *reply, const char *data,
                 const void *payload, size_t payload_len)
{
        Echo *e = calloc(1, sizeof *e);

        assert_non_null(e);
        *e = (Echo){.data = strdup(data), .payload_len = payload_len};
        assert_non_null(e->data);
        e->reply = reply ? linkipc_reply_ref(reply) : NULL;
        if (payload_len > 0) {
                e->payload = malloc(payload_len);
                assert_non_null(e->payload);
                memcpy(e->payload, payload, payload_len);
        }
        if (!p->echoes && send_echo(s, e) == 0)
                return;
        Echo **at = &p->echoes;
        while (*at)
                at = &(*at)->next;
        *at = e;
        linkipc_session_hold(s);
}

static void on_echo_writable(linkipc_session *s, void *userdata)
{
        Place *p = userdata;

        while (p->echoes) {
                Echo *e = p->echoes, *next = e->next;
                if (send_echo(s, e) < 0)
                        return;
                p->echoes = next;
        }
        linkipc_session_release(s);
}

static void on_event(linkipc_session *s, const char *data, size_t len, const void *payload,
                     size_t payload_len, void *userdata)
{
        (void)len;
        assert_int_equal(linkipc_session_is_incoming(s), 1);
        echo(userdata, s, NULL, data, payload, payload_len);
}

static void on_request(linkipc_session *s, linkipc_reply *reply, const char *command, size_t len,
                       void *userdata)
{
        Place *p = userdata;

        (void)len;
        assert_string_equal(linkipc_session_get_host(s), "default");
        assert_true(strlen(linkipc_session_get_key_id(s)) > 0);
        if (strcmp(command, "\"fail\"") == 0)
                assert_int_equal(linkipc_reply_error(reply, "as \"you\" asked: ü"), 0);
        else if (strcmp(command, "\"keep\"") == 0 || strcmp(command, "\"drop\"") == 0)
                linkipc_reply_unref(TAKE_PTR(p->kept));
        else
                echo(p, s, reply, command, NULL, 0);
        if (strcmp(command, "\"keep\"") == 0)
                p->kept = linkipc_reply_ref(reply);
}

static void *serve(void *userdata)
{
        Place *p = userdata;

        for (;;) {
                int r;
                do
                        r = linkipc_process(p->server);
                while (r > 0);
                uint64_t due;
                struct pollfd fds[2] = {
                        {.fd = linkipc_get_fd(p->server),
                         .events = (short)linkipc_get_events(p->server)},
                        {.fd = p->stop[0], .events = POLLIN},
                };
                assert_int_equal(r, 0);
                assert_int_equal(linkipc_get_timeout(p->server, &due), 0);
                assert_true(due == UINT64_MAX);
                assert_true(poll(fds, 2, -1) > 0);
                if (fds[1].revents)
                        return NULL;
        }
}

/* ---- the place ---- */

/* The string member of an object, as it stands there: no escapes. Inlined, gcc 12 with -O3 takes
 * the text for a variable that is gone. */
static __attribute__((noinline)) char *member(const char *json, const char *name)
{
        char pattern[64];

        (void)snprintf(pattern, sizeof pattern, "\"%s\":\"", name);
        const char *at = strstr(json, pattern);
        assert_non_null(at);
        at += strlen(pattern);
        char *text = strndup(at, strcspn(at, "\""));
        assert_non_null(text);
        return text;
}

static char *call(linkipc *l, const char *method, const char *params)
{
        char *json = NULL;

        if (linkipc_call(l, method, params, 0, &json, NULL) < 0)
                fail_msg("%s: %s", method, linkipc_error_message(l));
        return json;
}

static void pair(Place *p)
{
        char params[512], *json;

        (void)snprintf(params, sizeof params, "{\"url\":\"%s\"}", p->relay.url);
        free(call(p->to_home, "uplink.add", params));
        do {
                json = call(p->to_home, "uplink.list", NULL);
                if (strstr(json, "\"registered\""))
                        break;
                free(json);
        } while (linkipc_wait(p->to_home, 20) >= 0);
        free(json);
        json = call(p->to_home, "invite", NULL);
        char *uri = member(json, "uri");
        free(json);
        (void)snprintf(params, sizeof params, "{\"uri\":\"%s\",\"name\":\"home\"}", uri);
        free(uri);
        json = call(p->link, "pair", params);
        p->key_id = member(json, "keyId");
        free(json);
}

static int setup(void **state)
{
        static Place p;

        p = (Place){0};
        relay_start(&p.relay, relay_path);
        linkd_start(&p.home, linkd_path);
        linkd_start(&p.laptop, linkd_path);
        assert_int_equal(linkipc_open(&p.to_home, p.home.socket), 0);
        assert_int_equal(linkipc_open(&p.server, p.home.socket), 0);
        assert_int_equal(linkipc_open(&p.link, p.laptop.socket), 0);
        pair(&p);
        linkipc_on_event(p.server, on_event, &p);
        linkipc_on_request(p.server, on_request, &p);
        linkipc_on_writable(p.server, on_echo_writable, &p);
        assert_int_equal(linkipc_serve(p.server, NULL, LINKIPC_REQUESTS | LINKIPC_EVENTS), 0);
        assert_int_equal(pipe(p.stop), 0);
        assert_int_equal(pthread_create(&p.thread, NULL, serve, &p), 0);
        *state = &p;
        return 0;
}

static int teardown(void **state)
{
        Place *p = *state;

        assert_int_equal(close(p->stop[1]), 0);
        assert_int_equal(pthread_join(p->thread, NULL), 0);
        assert_int_equal(close(p->stop[0]), 0);
        while (p->echoes) { /* the session has ended before they could be sent */
                Echo *e = p->echoes;
                p->echoes = e->next;
                free_echo(e);
        }
        linkipc_reply_unref(p->kept);
        linkipc_unref(p->server);
        linkipc_unref(p->link);
        linkipc_unref(p->to_home);
        free(p->key_id);
        daemon_end(&p->laptop);
        daemon_end(&p->home);
        daemon_end(&p->relay);
        return 0;
}

static linkipc_session *connect_home(Place *p)
{
        linkipc_session *s = NULL;

        assert_int_equal(linkipc_connect(p->link, "home", &s), 0);
        if (linkipc_session_wait(s, 0) < 0)
                fail_msg("no session: %s", linkipc_error_message(p->link));
        return s;
}

/* ---- tests ---- */

static void test_requests(void **state)
{
        static const char text[] = "{\"n\":123456789012345678901234567890,\"f\":1.0,\"e\":1e400,"
                                   "\"s\":\"\\ud800\\u0000\\/\",\"f\":[ ]}";
        Place *p = *state;
        linkipc_session *s = connect_home(p);
        char *json = NULL;
        size_t len;

        assert_non_null(strstr(linkipc_session_get_info(s), "\"peer\":\"home\""));
        assert_int_equal(linkipc_request(s, text, 0, &json, &len), 0);
        assert_string_equal(json, text);
        assert_int_equal(len, strlen(text));
        free(json);
        json = NULL;
        assert_int_equal(linkipc_request(s, "\"fail\"", 0, &json, NULL), -EREMOTEIO);
        assert_string_equal(linkipc_error_message(p->link), "as \"you\" asked: ü");
        assert_null(json);
        assert_int_equal(linkipc_request(s, "\"keep\"", 50, &json, NULL), -ETIMEDOUT);
        assert_int_equal(linkipc_ask(p->link, "home", "[1.0]", 0, &json, NULL), 0);
        assert_string_equal(json, "[1.0]");
        free(json);
        assert_int_equal(linkipc_session_close(s), 0);
        assert_int_equal(linkipc_session_wait_closed(s, 0), 0);
        assert_string_equal(linkipc_session_error_word(s), "closed");
        linkipc_session_unref(s);
}

/* What the application at home drops, linkd answers by our error. */
static void test_dropped(void **state)
{
        Place *p = *state;
        linkipc_session *s = connect_home(p);
        Seen kept = {0};

        assert_int_equal(linkipc_request_async(s, "\"keep\"", 0, on_seen, &kept, NULL), 0);
        assert_int_equal(linkipc_request(s, "\"drop\"", 0, NULL, NULL), -EREMOTEIO);
        PUMP_UNTIL(p->link, kept.calls > 0);
        assert_int_equal(kept.error, -EREMOTEIO);
        assert_non_null(strstr(kept.message, "dropped"));
        linkipc_session_unref(s);
}

typedef struct Got {
        int events;
        size_t payload_len;
        uint32_t sum;
        char data[64];
} Got;

static uint32_t sum_of(const uint8_t *p, size_t n)
{
        uint32_t sum = 0;

        for (size_t i = 0; i < n; i++)
                sum = sum * 31 + p[i];
        return sum;
}

static void on_got(linkipc_session *s, const char *data, size_t len, const void *payload,
                   size_t payload_len, void *userdata)
{
        Got *got = userdata;

        (void)s;
        (void)len;
        got->events++;
        got->payload_len = payload_len;
        got->sum = sum_of(payload, payload_len);
        (void)snprintf(got->data, sizeof got->data, "%s", data);
}

static void test_events(void **state)
{
        enum { N = 8 * 1024 * 1024 };
        Place *p = *state;
        linkipc_session *s = connect_home(p);
        uint8_t *payload = malloc(N);
        Got got = {0};

        assert_non_null(payload);
        for (size_t i = 0; i < N; i++)
                payload[i] = (uint8_t)(i * 7 + (i >> 8));
        linkipc_session_on_event(s, on_got, &got);
        assert_int_equal(linkipc_send(s, "{\"n\":1.0}", NULL, 0, 0), 0);
        PUMP_UNTIL(p->link, got.events == 1);
        assert_string_equal(got.data, "{\"n\":1.0}");
        assert_int_equal(got.payload_len, 0);
        assert_int_equal(linkipc_send(s, "[]", payload, N, 0), 0);
        assert_int_equal(linkipc_session_is_framed(s), 1);
        PUMP_UNTIL(p->link, got.events == 2);
        assert_int_equal(got.payload_len, N);
        assert_int_equal(got.sum, sum_of(payload, N));
        linkipc_session_unref(s);
        free(payload);
}

static void on_answer(linkipc *l, const linkipc_result *result, void *userdata)
{
        (void)l;
        assert_int_equal(result->error, 0);
        assert_int_equal(result->json_len, 10000);
        ++*(int *)userdata;
}

static void on_writable(linkipc_session *s, void *userdata)
{
        (void)s;
        *(bool *)userdata = true;
}

/* More than the credit, more than 1024 operations. */
static void test_flow(void **state)
{
        enum { CALLS = 3000, N = 10000 };
        Place *p = *state;
        linkipc_session *s = connect_home(p);
        char *text = malloc(N + 1);
        int started = 0, answered = 0, waited = 0;
        bool writable = false;

        assert_non_null(text);
        memset(text, '1', N);
        text[N] = 0;
        linkipc_session_on_writable(s, on_writable, &writable);
        while (started < CALLS) {
                int r = linkipc_request_async(s, text, 0, on_answer, &answered, NULL);
                if (r == -EAGAIN) {
                        waited++;
                        writable = false;
                        PUMP_UNTIL(p->link, writable);
                } else if (r == -ENOBUFS) {
                        int before = answered;
                        PUMP_UNTIL(p->link, answered > before);
                } else {
                        assert_int_equal(r, 0);
                        started++;
                }
        }
        PUMP_UNTIL(p->link, answered == CALLS);
        assert_true(waited > 0);
        linkipc_session_unref(s);
        free(text);
}

/* A held session: the other end is stalled, and goes on after the release. */
static void test_hold(void **state)
{
        enum { N = 100000, EVENTS = 20 }; /* the windows on the way hold them all */
        Place *p = *state;
        Got got = {0};
        char *payload = calloc(1, N);
        linkipc_session *s = NULL;

        assert_non_null(payload);
        assert_int_equal(linkipc_set_window(p->link, 4 * N), 0);
        s = connect_home(p);
        linkipc_session_on_event(s, on_got, &got);
        linkipc_session_hold(s);
        for (int i = 0; i < EVENTS; i++)
                assert_int_equal(linkipc_send(s, "1", payload, N, 0), 0);
        PUMP_UNTIL(p->link, got.events >= 4);
        /* Answers of calls come all the same, so that what was sent ahead would be here by now. */
        for (int i = 0; i < 20; i++)
                assert_int_equal(linkipc_call(p->link, "peers", NULL, 0, NULL, NULL), 0);
        assert_true(got.events <= 5); /* 4, and one that went beyond */
        linkipc_session_release(s);
        PUMP_UNTIL(p->link, got.events == EVENTS);
        linkipc_session_unref(s);
        free(payload);
}

static void test_cancel(void **state)
{
        Place *p = *state;
        linkipc_session *s = connect_home(p);
        Seen seen = {0};
        uint32_t id;

        for (int i = 0; i < 2000; i++) { /* more than may be unanswered */
                assert_int_equal(linkipc_request_async(s, "\"keep\"", 0, on_seen, &seen, &id), 0);
                assert_int_equal(linkipc_cancel(p->link, id), 0);
                assert_int_equal(seen.calls, i + 1);
                pump(p->link);
                if (i % 500 == 0)
                        assert_int_equal(linkipc_request(s, "1", 0, NULL, NULL), 0);
        }
        linkipc_session_unref(s);
}

static void test_no_json(void **state)
{
        Place *p = *state;
        linkipc_session *s = connect_home(p);

        assert_int_equal(linkipc_request(s, "nonsense", 0, NULL, NULL), -EPROTO);
        assert_string_equal(linkipc_error_word(p->link), "protocol");
        assert_int_equal(linkipc_session_get_state(s), LINKIPC_CLOSED);
        assert_int_equal(linkipc_session_error(s), -EPROTO);
        linkipc_session_unref(s);
}

/* The relay goes, and does not come back. */
static void test_reconnecting(void **state)
{
        Place *p = *state;
        linkipc_session *s = connect_home(p);
        Seen seen = {0};

        daemon_signal(&p->relay, SIGTERM);
        PUMP_UNTIL(p->link, linkipc_session_get_state(s) == LINKIPC_RECONNECTING);
        assert_true(linkipc_session_error(s) < 0);
        assert_true(strlen(linkipc_session_error_message(s)) > 0);
        /* A request waits for the next connection, and ends in time without one. */
        assert_int_equal(linkipc_request_async(s, "1", 100, on_seen, &seen, NULL), 0);
        PUMP_UNTIL(p->link, seen.calls > 0);
        assert_true(seen.error == -EHOSTUNREACH || seen.error == -ETIMEDOUT);
        assert_int_equal(linkipc_session_close(s), 0);
        assert_int_equal(linkipc_session_wait_closed(s, 0), 0);
        linkipc_session_unref(s);
}

static void test_revoked(void **state)
{
        Place *p = *state;
        linkipc_session *s = connect_home(p);
        char params[128];
        Seen kept = {0};

        assert_int_equal(linkipc_request_async(s, "\"keep\"", 0, on_seen, &kept, NULL), 0);
        assert_int_equal(linkipc_request(s, "1", 0, NULL, NULL), 0);
        (void)snprintf(params, sizeof params, "{\"device\":\"%s\"}", p->key_id);
        free(call(p->to_home, "revoke", params));
        assert_int_equal(linkipc_session_wait_closed(s, 0), 0);
        assert_int_equal(linkipc_session_error(s), -EKEYREVOKED);
        assert_string_equal(linkipc_session_error_word(s), "revoked");
        assert_int_equal(kept.calls, 1);
        assert_int_equal(kept.error, -EKEYREVOKED);
        linkipc_session_unref(s);
        s = NULL;
        assert_int_equal(linkipc_connect(p->link, "home", &s), 0);
        assert_int_equal(linkipc_session_wait(s, 0), -EKEYREVOKED);
        linkipc_session_unref(s);
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_requests, setup, teardown),
                cmocka_unit_test_setup_teardown(test_dropped, setup, teardown),
                cmocka_unit_test_setup_teardown(test_events, setup, teardown),
                cmocka_unit_test_setup_teardown(test_flow, setup, teardown),
                cmocka_unit_test_setup_teardown(test_hold, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_json, setup, teardown),
                cmocka_unit_test_setup_teardown(test_reconnecting, setup, teardown),
                cmocka_unit_test_setup_teardown(test_revoked, setup, teardown),
        };

        assert_int_equal(argc, 3);
        linkd_path = argv[1];
        relay_path = argv[2];
        return cmocka_run_group_tests(tests, NULL, NULL);
}
