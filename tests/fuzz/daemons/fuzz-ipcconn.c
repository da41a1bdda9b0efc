/* The agent behind its socket: two applications send frames of every kind, and bytes of any kind.
 *
 * The input is a list of steps, each ended by the byte 0x1e; 0x1f parts the fields:
 *
 *   C REQUEST method 0x1f json         CALL
 *   N REQUEST SESSION peer             CONNECT; S: SERVE
 *   A REQUEST SESSION peer 0x1f json   ASK
 *   Q REQUEST SESSION json             REQUEST; P, p: RESPONSE (ok, error)
 *   E REQUEST SESSION json 0x1f bytes  EVENT
 *   L REQUEST SESSION                  CANCEL; X: CLOSE; D: CREDIT
 *   H VERSION                          HELLO (the first of each is sent anyway, unless R is first)
 *   R bytes                            as they are
 *   2                                  the next steps are the other application's
 *   d                                  it does not read until its next d
 *
 * Whatever they send, what comes back are whole frames of the agent, with JSON where the page says
 * so; no request is answered twice; and the state directory can be read afterwards. */
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "liblinkproto/credential.h"
#include "liblinkproto/json.h"
#include "linkd/host.h"
#include "linkd/ipc-server.h"
#include "linkd/store-internal.h"
#include "tests/fuzz/fuzz.h"
#include "workdir.h"

enum { STEPS_MAX = 48, APPS = 2, REQUESTS = 256, ROUNDS_MAX = 200 };

typedef struct App {
        int fd; /* -1: not there */
        bool reads, started, wild;
        uint8_t asked[REQUESTS], answered[REQUESTS];
        Buf in;
} App;

typedef struct Run {
        uv_loop_t loop;
        Settings settings;
        Agent *agent;
        App apps[APPS];
        size_t at; /* whose turn it is */
} Run;

/* ---- the agent ---- */

static void write_record(Store *s, RecordKind kind, uint8_t id, const char *text)
{
        RecordId record;

        memset(record.b, id, sizeof(record.b));
        CHECK(store_write(s, kind, &record, text, strlen(text)) == 0);
}

/* A host with a device, and a peer. */
static void make_state(void)
{
        static const char credential[] = "eyJhZGRyZXNzIjoibkdfVWVZUkZkUldjdzVQYUtwX19HSjVXWkVKZmFaX"
                                         "2x4cDZDenZ4Y2MyOCIsImhvc3RTdG"
                                         "F0aWNQdWIiOiJRd3dnQW53OEYybEVhT1FZVzlpUzVTZExZU2RRbWtSQ3p"
                                         "oUURDR2MwaUNZIiwidG9rZW4iOiIydV"
                                         "NFejUyYVRSNFpOUElvSVhzWlZLRGJyVHpJdkNESUZpZ01yRjB0OTdjIiw"
                                         "ia2V5SWQiOiJEUGpaSS1Pc1B0YlVqbG"
                                         "JQOWR1bkR3In0";
        static const uint8_t key[32] = {1};
        _cleanup_(store_closep) Store *s = NULL;
        _cleanup_(freep) char *fault = NULL;
        char text[1024];

        workdir_clear();
        workdir_write("master.key", key, sizeof(key));
        CHECK(store_open_to_read(&s, workdir(), &fault) == 0);
        write_record(s, RECORD_HOST, 1,
                     "{\"name\":\"default\",\"staticPrivate\":"
                     "\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\",\"createdAt\":1700000000,"
                     "\"uplinks\":[\"ws://relay.example\"]}");
        write_record(s, RECORD_DEVICE, 2,
                     "{\"host\":\"01010101010101010101010101010101\",\"keyId\":"
                     "\"ISEhISEhISEhISEhISEhIQ\",\"token\":"
                     "\"MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE\",\"label\":\"phone\","
                     "\"createdAt\":1700000001,\"codeId\":\"\"}");
        (void)snprintf(text, sizeof(text),
                       "{\"name\":\"home\",\"credential\":\"%s\",\"createdAt\":1700000002,"
                       "\"uplinks\":[\"ws://relay.example\",\"wss://other.example\"]}",
                       credential); /* fits */
        write_record(s, RECORD_PEER, 3, text);
}

static void start_agent(Run *r)
{
        _cleanup_(freep) char *fault = NULL;

        CHECK(uv_loop_init(&r->loop) == 0);
        CHECK(settings_init(&r->settings, &fault) == 0);
        CHECK(agent_new(&r->agent, &r->loop, workdir(), &r->settings, &fault) == 0);
        CHECK(ipc_server_new(&r->agent->ipc, r->agent, workdir_path("sock"), &fault) == 0);
}

static void stop_agent(Run *r)
{
        agent_stop(r->agent);
        CHECK(uv_run(&r->loop, UV_RUN_DEFAULT) == 0);
        r->agent = agent_free(r->agent);
        CHECK(uv_loop_close(&r->loop) == 0);
        settings_done(&r->settings);
}

/* What it has written can be read. */
static void check_state(void)
{
        _cleanup_(freep) char *fault = NULL;
        Agent *a = NULL;
        uv_loop_t loop;

        CHECK(uv_loop_init(&loop) == 0);
        CHECK(agent_new_to_check(&a, &loop, workdir(), &fault) == 0);
        CHECK(a->hosts && a->n_unreadable == 0);
        agent_stop(a);
        CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
        agent_free(a);
        CHECK(uv_loop_close(&loop) == 0);
}

/* ---- what comes back ---- */

static void check_object(IpcStr json)
{
        JsonSlice v;

        CHECK(json_scan_value(json.p, json.n, &v) == 0 && json_is_object(v));
}

static void note_answer(App *a, const IpcMessage *m)
{
        CHECK(m->request < REQUESTS);
        a->answered[m->request]++;
        CHECK(a->wild || a->answered[m->request] <= a->asked[m->request]);
}

static void check_message(App *a, const IpcMessage *m)
{
        switch (m->type) {
        case IPC_RESULT:
                check_object(m->json);
                note_answer(a, m);
                return;
        case IPC_OPENED:
                check_object(m->json);
                CHECK(m->session && m->window);
                note_answer(a, m);
                return;
        case IPC_NOTIFY:
        case IPC_INCOMING:
                check_object(m->json);
                return;
        case IPC_ERROR:
                CHECK(m->name.n && m->message.n);
                if (m->request && !a->wild)
                        note_answer(a, m);
                return;
        case IPC_STATE:
                CHECK(m->session && m->state >= IPC_STATE_CONNECTING &&
                      m->state <= IPC_STATE_CLOSED);
                return;
        case IPC_HELLO:
                CHECK(m->version == IPC_VERSION);
                return;
        case IPC_CREDIT:
        case IPC_RESPONSE:
        case IPC_REQUEST:
        case IPC_EVENT:
        case IPC_CANCEL:
                return;
        case IPC_CALL:
        case IPC_CONNECT:
        case IPC_SERVE:
        case IPC_CLOSE:
        case IPC_ASK:
                CHECK(!"a frame that only an application sends");
        }
}

static void take_messages(App *a)
{
        for (;;) {
                const char *fault = NULL;
                size_t used = 0;
                IpcMessage m;
                int r = ipcmsg_decode(a->in.data, a->in.len, true, &m, &used, &fault);

                CHECK(r >= 0);
                if (r == 0)
                        return;
                check_message(a, &m);
                buf_drop(&a->in, used);
        }
}

/* Whether anything came. */
static bool read_app(App *a)
{
        uint8_t chunk[16 * 1024];
        ssize_t n;

        if (a->fd < 0 || !a->reads)
                return false;
        n = read(a->fd, chunk, sizeof(chunk));
        if (n < 0) {
                CHECK(errno == EAGAIN || errno == ECONNRESET);
                return false;
        }
        if (n == 0) {
                CHECK(a->in.len == 0); /* what was said was said whole */
                close(a->fd);
                a->fd = -1;
                return true;
        }
        buf_add(&a->in, chunk, (size_t)n);
        CHECK(buf_ok(&a->in) == 0);
        take_messages(a);
        return true;
}

static void turn(Run *r)
{
        bool more = true;

        for (unsigned i = 0; more && i < ROUNDS_MAX; i++) {
                more = false;
                for (unsigned k = 0; k < 3; k++) /* what one callback leaves to the next round */
                        (void)uv_run(&r->loop, UV_RUN_NOWAIT); /* what is left is seen at the end */
                for (size_t n = 0; n < APPS; n++)
                        more = read_app(&r->apps[n]) || more;
        }
}

/* ---- what is sent ---- */

static void send_bytes(Run *r, const uint8_t *p, size_t n)
{
        App *a = &r->apps[r->at];

        while (n && a->fd >= 0) {
                ssize_t sent = send(a->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (sent < 0 && errno != EAGAIN)
                        return; /* it was closed */
                if (sent > 0) {
                        p += sent;
                        n -= (size_t)sent;
                        continue;
                }
                turn(r);
                if (!a->reads)
                        return; /* who does not read is not read */
        }
}

static void send_message(Run *r, const IpcMessage *m)
{
        App *a = &r->apps[r->at];
        Buf b = {};

        if (ipcmsg_encode(&b, m) == 0) {
                a->asked[m->request & (REQUESTS - 1)] +=
                        a->asked[m->request & (REQUESTS - 1)] < 255;
                send_bytes(r, b.data, b.len);
        }
        buf_done(&b);
}

static void hello(Run *r, uint16_t version, uint32_t max_frame)
{
        send_message(r, &(IpcMessage){.type = IPC_HELLO,
                                      .version = version,
                                      .max_frame = max_frame,
                                      .name = ipc_str("fuzz")});
}

static void connect_app(Run *r)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        App *a = &r->apps[r->at];

        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s",
                       workdir_path("sock")); /* fits */
        a->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        CHECK(a->fd >= 0);
        CHECK(connect(a->fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
        a->reads = a->started = true;
        turn(r);
}

static IpcStr take_field(const uint8_t **p, size_t *n)
{
        const uint8_t *end = memchr(*p, 0x1f, *n);
        IpcStr s = {.p = (const char *)*p, .n = end ? (size_t)(end - *p) : *n};
        size_t used = MIN(s.n + 1, *n);

        *p += used;
        *n -= used;
        return s;
}

/* A frame with fields; false: op is none. */
static bool send_frame(Run *r, uint8_t op, const uint8_t *p, size_t n)
{
        static const struct {
                uint8_t op;
                IpcType type;
                bool name, json, payload;
        } ops[] = {
                {'C', IPC_CALL, true, true, false},      {'N', IPC_CONNECT, true, false, false},
                {'S', IPC_SERVE, true, false, false},    {'A', IPC_ASK, true, true, false},
                {'Q', IPC_REQUEST, false, true, false},  {'P', IPC_RESPONSE, false, true, false},
                {'p', IPC_RESPONSE, false, true, false}, {'E', IPC_EVENT, false, true, true},
                {'L', IPC_CANCEL, false, false, false},  {'X', IPC_CLOSE, false, false, false},
                {'D', IPC_CREDIT, false, false, false},
        };
        uint8_t request = fuzz_byte(&p, &n);
        uint8_t session = op == 'C' ? 0 : fuzz_byte(&p, &n);

        for (size_t i = 0; i < ELEMENTSOF(ops); i++) {
                IpcMessage m = {.type = ops[i].type, .flags = op == 'P' ? IPC_FLAG_OK : 0};

                if (ops[i].op != op)
                        continue;
                m.request = op == 'X' || op == 'D' ? 0 : request;
                m.session = op == 'N' || op == 'S' || op == 'A' ? 0 : session & 15;
                m.window = 1U << (session & 31);
                m.roles = session;
                m.timeout_msec = op == 'Q' || op == 'A' ? session : 0;
                if (ops[i].name)
                        m.name = take_field(&p, &n);
                if (ops[i].json)
                        m.json = take_field(&p, &n);
                if (ops[i].payload && n) {
                        m.payload = p;
                        m.payload_len = n;
                }
                send_message(r, &m);
                return true;
        }
        return false;
}

static void step(Run *r, const uint8_t *p, size_t n)
{
        const uint8_t op = fuzz_byte(&p, &n);
        App *a = &r->apps[r->at];

        if (op == '2') {
                r->at = (r->at + 1) % APPS;
                return;
        }
        if (op == 'd') {
                a->reads = !a->reads;
                return;
        }
        if (!a->started) {
                connect_app(r);
                if (op != 'R' && op != 'H')
                        hello(r, 1, IPC_FRAME_MAX);
        }
        if (op == 'R') {
                a->wild = true; /* it may ask for anything */
                send_bytes(r, p, n);
        } else if (op == 'H') {
                uint8_t version = fuzz_byte(&p, &n);
                hello(r, version & 3, 1U << (fuzz_byte(&p, &n) & 31));
        } else {
                (void)send_frame(r, op, p, n); /* another byte is no step */
        }
        turn(r);
}

static void run_steps(Run *r, const uint8_t *data, size_t size)
{
        for (size_t i = 0; size && i < STEPS_MAX; i++) {
                const uint8_t *end = memchr(data, 0x1e, size);
                size_t n = end ? (size_t)(end - data) : size;

                step(r, data, n);
                n = MIN(n + 1, size);
                data += n;
                size -= n;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        Run r = {};

        CHECK(sodium_init() >= 0);
        CHECK(unsetenv("CREDENTIALS_DIRECTORY") == 0);
        CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR); /* as linkd does */
        for (size_t i = 0; i < APPS; i++)
                r.apps[i].fd = -1;
        capture_begin();
        make_state();
        start_agent(&r);
        run_steps(&r, data, size);
        for (size_t i = 0; i < APPS; i++)
                r.apps[i].reads = true;
        turn(&r);
        for (size_t i = 0; i < APPS; i++) {
                if (r.apps[i].fd >= 0)
                        CHECK(close(r.apps[i].fd) == 0);
                buf_done(&r.apps[i].in);
        }
        stop_agent(&r);
        check_state();
        (void)capture_end();
        return 0;
}
