/* Agents that do this and that, at random, and an application that does so too, also from within
 * callbacks: each callback comes exactly once, and nothing breaks. */
#include "agent.h"

static uint32_t seed;

static uint32_t random_below(uint32_t n)
{
        seed = seed * 1664525 + 1013904223;
        return (uint32_t)(((uint64_t)seed * n) >> 32);
}

static const char *random_text(void)
{
        static const char *const texts[] = {
                "", "framed", "closed", "{}", "{\"host\":\"\\u0000\\ud800\\", "\"\\uD83D\\uDE00\""};

        return texts[random_below(ELEMENTSOF(texts))];
}

/* Any frame with any numbers. */
static IpcMessage random_message(void)
{
        static const IpcType types[] = {IPC_HELLO,   IPC_ERROR,  IPC_RESULT, IPC_NOTIFY,
                                        IPC_OPENED,  IPC_STATE,  IPC_CANCEL, IPC_INCOMING,
                                        IPC_REQUEST, IPC_CREDIT, IPC_EVENT,  IPC_RESPONSE};

        return (IpcMessage){
                .type = types[random_below(ELEMENTSOF(types))],
                .session = random_below(8),
                .request = random_below(24),
                .version = 1,
                .max_frame = 1 << 20,
                .error_no = random_below(200),
                .window = 1 + random_below(2000),
                .state = (uint8_t)(1 + random_below(4)),
                .name = ipc_str(random_text()),
                .message = ipc_str(random_text()),
                .json = ipc_str(random_text()),
        };
}

/* What a sound agent knows, so that most of what is sent makes sense. */
typedef struct Model {
        IpcMessage asked[64];
        uint32_t n_asked;
        uint32_t sessions[16];
        uint32_t n_sessions, last_session, last_request;
        bool serving;
} Model;

/* Reads what the library has sent, and remembers the questions. */
static void model_read(Model *model, TestAgent *a)
{
        const char *fault;
        IpcMessage m;
        size_t used;

        assert_int_equal(buf_reserve(&a->in, 65536), 0);
        ssize_t n = recv(a->fd, a->in.data + a->in.len, 65536, MSG_DONTWAIT);
        a->in.len += n > 0 ? (size_t)n : 0;
        while (ipcmsg_decode(a->in.data, a->in.len, false, &m, &used, &fault) > 0) {
                if (m.type == IPC_SERVE)
                        model->serving = true;
                if (m.request && m.type != IPC_CANCEL && m.type != IPC_RESPONSE &&
                    model->n_asked < ELEMENTSOF(model->asked))
                        model->asked[model->n_asked++] = m;
                buf_drop(&a->in, used);
        }
}

static uint32_t model_new_session(Model *model)
{
        model->sessions[model->n_sessions++] = ++model->last_session;
        return model->last_session;
}

static IpcMessage model_answer(Model *model)
{
        uint32_t which = random_below(model->n_asked);
        IpcMessage asked = model->asked[which];
        IpcMessage m = {
                .type = IPC_RESULT,
                .session = asked.session,
                .request = asked.request,
                .window = 1 + random_below(300),
                .json = ipc_str("{}"),
        };

        model->asked[which] = model->asked[--model->n_asked];
        if (random_below(4) == 0)
                m.type = IPC_ERROR, m.name = ipc_str("noSuchPeer");
        else if (asked.type == IPC_ASK || asked.type == IPC_REQUEST)
                m.type = IPC_RESPONSE, m.flags = (uint8_t)random_below(2);
        else if (asked.type == IPC_CONNECT && model->n_sessions < ELEMENTSOF(model->sessions))
                m.type = IPC_OPENED, m.session = model_new_session(model);
        else if (asked.type == IPC_CONNECT)
                m.type = IPC_ERROR, m.name = ipc_str("tooMany");
        return m;
}

/* Something on its own, on a session if there is one. */
static IpcMessage model_news(Model *model)
{
        IpcMessage m = {.type = IPC_NOTIFY, .name = ipc_str("topic"), .json = ipc_str("[]")};
        uint32_t which = random_below(model->n_sessions ? model->n_sessions : 1);

        if (model->serving && model->n_sessions < ELEMENTSOF(model->sessions) &&
            random_below(4) == 0) {
                m.type = IPC_INCOMING;
                m.window = 1 + random_below(300);
                m.session = model_new_session(model);
                return m;
        }
        if (model->n_sessions == 0)
                return m;
        m.session = model->sessions[which];
        m.name = ipc_str(random_text());
        switch (random_below(8)) {
        case 0:
                m.type = IPC_STATE;
                m.state = (uint8_t)(1 + random_below(4));
                if (m.state == IPC_STATE_CLOSED)
                        model->sessions[which] = model->sessions[--model->n_sessions];
                return m;
        case 1:
        case 2:
                m.type = IPC_CREDIT;
                m.window = random_below(100);
                return m;
        case 3:
        case 4:
                m.type = IPC_EVENT;
                m.payload_len = random_below(7);
                m.payload = m.payload_len ? (const uint8_t *)"payload" : NULL;
                return m;
        case 5:
                m.type = IPC_CANCEL;
                m.request = 1 + random_below(model->last_request + 1);
                return m;
        default:
                m.type = IPC_REQUEST;
                m.request = ++model->last_request;
                return m;
        }
}

static IpcMessage model_next(Model *model)
{
        if (random_below(100) == 0)
                return random_message();
        return model->n_asked > 0 && random_below(2) ? model_answer(model) : model_news(model);
}

/* The application does this and that, at random, also from within handlers. */
typedef struct Player {
        linkipc *l;
        linkipc_session *own[4];
        linkipc_reply *replies[4];
        int started, called;
} Player;

static void on_played(linkipc *l, const linkipc_result *result, void *userdata);

static void play(Player *p)
{
        uint32_t which = random_below(4), id = random_below(24);
        linkipc_session *s = p->own[which];

        switch (random_below(12)) {
        case 0:
                p->started += linkipc_call_async(p->l, "m", NULL, 0, on_played, p, NULL) == 0;
                return;
        case 1:
                p->started += linkipc_ask_async(p->l, "p", "1", 0, on_played, p, NULL) == 0;
                return;
        case 2:
                p->started += linkipc_serve_async(p->l, "h", 3, on_played, p, NULL) == 0;
                return;
        case 3:
                if (!s && linkipc_connect(p->l, "home", &s) == 0)
                        p->own[which] = s;
                return;
        case 4:
        case 5:
                if (s)
                        p->started += linkipc_request_async(s, "1", 0, on_played, p, NULL) == 0;
                return;
        case 6:
                if (s)
                        p->started += linkipc_send_async(s, "1", "p", 1, on_played, p, NULL) == 0;
                return;
        case 7:
                (void)linkipc_cancel(p->l, id);
                return;
        case 8:
                p->own[which] = NULL;
                linkipc_session_unref(s);
                return;
        case 9:
                linkipc_reply_unref(TAKE_PTR(p->replies[which]));
                return;
        case 10:
                if (p->replies[which])
                        (void)linkipc_reply_ok(p->replies[which], "1");
                return;
        case 11:
                if (s && random_below(2))
                        linkipc_session_hold(s);
                else if (s && random_below(2))
                        (void)linkipc_session_close(s);
                else if (s)
                        linkipc_session_release(s);
                return;
        }
}

static void on_played(linkipc *l, const linkipc_result *result, void *userdata)
{
        Player *p = userdata;

        (void)l;
        (void)result;
        p->called++;
        play(p);
}

static void on_played_state(linkipc_session *s, int state, void *userdata)
{
        (void)s;
        (void)state;
        play(userdata);
}

static void on_played_event(linkipc_session *s, const char *data, size_t len, const void *payload,
                            size_t payload_len, void *userdata)
{
        play(userdata);
        assert_int_equal(strlen(data), len);
        if (payload)
                assert_memory_equal(payload, "payload", payload_len);
        (void)s;
}

static void on_played_cancel(linkipc_reply *r, void *userdata)
{
        assert_int_equal(linkipc_reply_is_cancelled(r), 1);
        play(userdata);
}

static void on_played_request(linkipc_session *s, linkipc_reply *reply, const char *command,
                              size_t len, void *userdata)
{
        Player *p = userdata;
        uint32_t which = random_below(4);

        (void)s;
        if (!p->replies[which]) {
                p->replies[which] = linkipc_reply_ref(reply);
                linkipc_reply_on_cancel(reply, on_played_cancel, p);
        }
        play(p);
        assert_int_equal(strlen(command), len);
}

static void on_played_writable(linkipc_session *s, void *userdata)
{
        (void)s;
        play(userdata);
}

/* How many steps it took. */
static int play_round(uint32_t round)
{
        Model model = {0};
        TestAgent a;
        Player p = {0};
        int r = 0, steps = 0;

        seed = round;
        agent_open_hello(&a);
        buf_drop(&a.in, a.used);
        a.used = 0;
        p.l = a.link;
        assert_int_equal(linkipc_set_window(p.l, 1000 + random_below(2000)), 0);
        linkipc_on_state(p.l, on_played_state, &p);
        linkipc_on_event(p.l, on_played_event, &p);
        linkipc_on_request(p.l, on_played_request, &p);
        linkipc_on_writable(p.l, on_played_writable, &p);
        for (; steps < 200 && r == 0; steps++) {
                play(&p);
                play(&p);
                r = pump(p.l);
                model_read(&model, &a);
                IpcMessage m = model_next(&model), back;
                Buf b = {0};
                const char *fault;
                size_t used;
                assert_int_equal(ipcmsg_encode(&b, &m), 0);
                /* What the codec refuses is tested above. */
                if (r == 0 && ipcmsg_decode(b.data, b.len, true, &back, &used, &fault) == 1)
                        agent_send_bytes(&a, b.data, b.len);
                buf_done(&b);
                if (r == 0)
                        r = pump(p.l);
        }
        if (random_below(2))
                agent_hang_up(&a);
        linkipc_ref(a.link); /* the player goes on with it until it ends */
        agent_close(&a);
        linkipc_unref(p.l);
        assert_int_equal(p.called, p.started);
        for (size_t i = 0; i < ELEMENTSOF(p.own); i++)
                linkipc_session_unref(p.own[i]);
        for (size_t i = 0; i < ELEMENTSOF(p.replies); i++)
                linkipc_reply_unref(p.replies[i]);
        return steps;
}

static void test_at_random(void **state)
{
        const int rounds = 300;
        int steps = 0;

        (void)state;
        for (int round = 0; round < rounds; round++)
                steps += play_round((uint32_t)round);
        assert_true(steps > 50 * rounds); /* else it tests little */
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_at_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
