/* CALL subscribe: this connection hears by NOTIFY what changes. */
#include <errno.h>

#include "ipc-call-internal.h"
#include "watch.h"

enum { ALL_TOPICS = (1U << WATCH_END) - 1 };

static void on_change(void *userdata, WatchTopic topic, const Buf *json)
{
        ipc_conn_notify(userdata, watch_topic_name(topic),
                        json); /* one that does not read is cut */
}

static int topic_bit(JsonSlice name, unsigned *ret)
{
        for (WatchTopic t = 0; t < WATCH_END; t++)
                if (json_str_eq(name, watch_topic_name(t))) {
                        *ret = 1U << t;
                        return 0;
                }
        return -EINVAL;
}

/* `topics`, all that the caller may hear if it is absent. 0, or answered. */
static int param_topics(Call *call, unsigned *ret)
{
        JsonSlice list = call_param(call, "topics"), item;
        const unsigned kept = call->conn->access & ACCESS_ADMINISTER ? 0 : 1U << WATCH_INVITATION;
        unsigned topics = 0, bit;

        if (!list.p) {
                *ret = ALL_TOPICS & ~kept;
                return 0;
        }
        if (!json_is_array(list)) {
                call_fail(call, "badRequest", "`topics` is a list of names");
                return -EINVAL;
        }
        while (json_array_next(&list, &item)) {
                if (!json_is_string(item) || topic_bit(item, &bit) < 0) {
                        call_fail(call, "badRequest", "there is no such topic");
                        return -EINVAL;
                }
                topics |= bit;
        }
        if (topics & kept) {
                call_fail(call, "forbidden", "only who administers hears of invitations");
                return -EACCES;
        }
        *ret = topics;
        return 0;
}

void call_subscribe(Call *call)
{
        IpcConn *c = call->conn;
        unsigned topics;

        if (param_topics(call, &topics) < 0)
                return;
        watch_remove(c->agent, &c->watcher);
        c->watcher = (Watcher){.topics = topics, .func = on_change, .userdata = c};
        if (topics)
                watch_add(c->agent, &c->watcher);
        buf_json_name(&call->result, "topics");
        buf_add_str(&call->result, "[");
        for (WatchTopic t = 0; t < WATCH_END; t++) {
                if (!(topics & 1U << t))
                        continue;
                buf_json_comma(&call->result);
                buf_json_str(&call->result, watch_topic_name(t), strlen(watch_topic_name(t)));
        }
        buf_add_str(&call->result, "]");
}
