/* The state directory as it may be found: records sealed with anything inside, records with
 * anything outside, damaged, renamed or of another key, and the last-seen file.
 *
 * The input is a list of files, each ended by the byte 0x1e:
 *
 *   [hdp] ID JSON          a host, device or peer, sealed
 *   x ID XOR AT [hdp] JSON the same, with a byte changed
 *   c ID [hdp] JSON        the same, under the name of the next id
 *   k ID [hdp] JSON        the same, sealed with another key
 *   r ID [hdp] BYTES       a file with the name of a record
 *   l BYTES                last-seen
 *   m BYTES                master.key
 *
 * Whatever there is, each record is taken or told about, none is changed, and what was taken is
 * written and read again as the same. */
#include <fcntl.h>
#include <sodium.h>
#include <unistd.h>

#include "linkd/describe.h"
#include "linkd/store-internal.h"
#include "tests/fuzz/fuzz.h"
#include "workdir.h"

enum { FILES_MAX = 24, FILE_BYTES_MAX = 128 * 1024, KEY_BYTES = 32 };

static const uint8_t key[KEY_BYTES] = "a master key for fuzzing, 32 by", other_key[KEY_BYTES] = {1};

static RecordId id_of(uint8_t c)
{
        RecordId id;

        memset(id.b, c & 3, sizeof(id.b));
        return id;
}

static RecordKind kind_of(uint8_t c)
{
        return c == 'h' ? RECORD_HOST : c == 'd' ? RECORD_DEVICE : RECORD_PEER;
}

static const char *name_of(uint8_t kind, uint8_t id)
{
        static char name[64];
        RecordId r = id_of(id);
        char hex[2 * RECORD_ID_BYTES + 1];

        sodium_bin2hex(hex, sizeof(hex), r.b, sizeof(r.b));
        (void)snprintf(name, sizeof(name), "%s-%s.rec",
                       kind == 'h'   ? "host"
                       : kind == 'd' ? "device"
                                     : "peer",
                       hex); /* fits */
        return name;
}

/* A file; its length in *ret. */
static const uint8_t *read_file(const char *name, size_t *ret)
{
        static uint8_t data[FILE_BYTES_MAX];
        int fd = open(workdir_path(name), O_RDONLY | O_CLOEXEC);
        ssize_t n;

        CHECK(fd >= 0);
        n = read(fd, data, sizeof(data));
        CHECK(n >= 0 && close(fd) == 0);
        *ret = (size_t)n;
        return data;
}

/* ---- making it ---- */

static void seal(const uint8_t *sealing_key, uint8_t kind, uint8_t id, const uint8_t *text,
                 size_t len)
{
        _cleanup_(store_closep) Store *s = NULL;
        _cleanup_(freep) char *fault = NULL;
        RecordId record = id_of(id);
        int r;

        workdir_write("master.key", sealing_key, KEY_BYTES);
        CHECK(store_open_to_read(&s, workdir(), &fault) == 0);
        r = store_write(s, kind_of(kind), &record, (const char *)text, len);
        CHECK(r == 0 || r == -EFBIG);
        workdir_write("master.key", key, KEY_BYTES);
}

static void damage(uint8_t kind, uint8_t id, uint8_t change, uint8_t at)
{
        _cleanup_(freep) uint8_t *copy = NULL;
        const uint8_t *data;
        size_t len;

        if (access(workdir_path(name_of(kind, id)), F_OK) < 0)
                return; /* it was too long */
        data = read_file(name_of(kind, id), &len);
        copy = malloc(len);
        CHECK(copy && len);
        memcpy(copy, data, len);
        copy[at % len] ^= change;
        workdir_write(name_of(kind, id), copy, len);
}

/* One entry of the input. */
static void make_file(const uint8_t *p, size_t n)
{
        const uint8_t op = fuzz_byte(&p, &n);
        const uint8_t id = strchr("hdpxckr", op ? op : '?') ? fuzz_byte(&p, &n) : 0;

        if (op == 'h' || op == 'd' || op == 'p') {
                seal(key, op, id, p, n);
        } else if (op == 'x') {
                const uint8_t change = fuzz_byte(&p, &n), at = fuzz_byte(&p, &n);
                const uint8_t kind = fuzz_byte(&p, &n);

                seal(key, kind, id, p, n);
                damage(kind, id, change, at);
        } else if (op == 'c') {
                const uint8_t kind = fuzz_byte(&p, &n);
                char from[64];

                seal(key, kind, id, p, n);
                (void)snprintf(from, sizeof(from), "%s", name_of(kind, id)); /* fits */
                if (access(workdir_path(from), F_OK) == 0) {
                        size_t len;
                        const uint8_t *data = read_file(from, &len);
                        workdir_write(name_of(kind, id + 1), data, len);
                }
        } else if (op == 'k') {
                const uint8_t kind = fuzz_byte(&p, &n);
                seal(other_key, kind, id, p, n);
        } else if (op == 'r') {
                const uint8_t kind = fuzz_byte(&p, &n);
                workdir_write(name_of(kind, id), p, n);
        } else if (op == 'l') {
                workdir_write("last-seen", p, n);
        } else if (op == 'm') {
                workdir_write("master.key", p, n);
        }
}

static void make_files(const uint8_t *data, size_t size)
{
        for (size_t i = 0; size && i < FILES_MAX; i++) {
                const uint8_t *end = memchr(data, 0x1e, size);
                size_t n = end ? (size_t)(end - data) : size;

                make_file(data, n);
                n = MIN(n + 1, size);
                data += n;
                size -= n;
        }
}

/* ---- looking at it ---- */

/* A hash of all records that are there, and their number. */
static size_t hash_records(uint8_t hash[32])
{
        crypto_generichash_state state;
        size_t count = 0;

        crypto_generichash_init(&state, NULL, 0, 32);
        for (const char *kind = "hdp"; *kind; kind++)
                for (uint8_t id = 0; id < 4; id++) {
                        const char *name = name_of((uint8_t)*kind, id);
                        const uint8_t *data;
                        size_t len;

                        if (access(workdir_path(name), F_OK) < 0)
                                continue;
                        data = read_file(name, &len);
                        crypto_generichash_update(&state, (const uint8_t *)name, strlen(name));
                        crypto_generichash_update(&state, data, len);
                        count++;
                }
        crypto_generichash_final(&state, hash, 32);
        return count;
}

typedef struct Loaded {
        uv_loop_t loop;
        Agent *agent; /* NULL: it could not be opened */
} Loaded;

static void load(Loaded *l)
{
        _cleanup_(freep) char *fault = NULL;
        int r;

        CHECK(uv_loop_init(&l->loop) == 0);
        r = agent_new_to_check(&l->agent, &l->loop, workdir(), &fault);
        CHECK(r <= 0 && (r == 0) == (l->agent != NULL) && (r == 0) == (fault == NULL));
}

static void unload(Loaded *l)
{
        if (l->agent)
                agent_stop(l->agent);
        CHECK(uv_run(&l->loop, UV_RUN_DEFAULT) == 0);
        l->agent = agent_free(l->agent);
        CHECK(uv_loop_close(&l->loop) == 0);
}

/* All hosts and peers (with times that stay) as a JSON text. */
static void describe(const Agent *a, Buf *out, size_t *n)
{
        JsonSlice again;

        *n = 0;
        buf_add_str(out, "[");
        for (const Host *h = a->hosts; h; h = h->next, ++*n) {
                for (Uplink *u = h->uplinks; u; u = u->next)
                        u->since = 0;
                buf_json_comma(out);
                buf_add_str(out, "{");
                describe_host(out, h);
                if (h->recovery_key)
                        buf_json_member_str(out, "key", (const char *)h->recovery_key->data);
                for (const Device *d = h->devices; d; d = d->next, ++*n) {
                        buf_json_name(out, "device");
                        buf_add_str(out, "{");
                        describe_device(out, h, d);
                        buf_add_str(out, "}");
                }
                buf_add_str(out, "}");
        }
        for (Peer *p = a->peers; p; p = p->next, ++*n) {
                p->since = 0;
                buf_json_comma(out);
                buf_add_str(out, "{");
                describe_peer(out, p);
                buf_add_str(out, "}");
        }
        buf_add_str(out, "]");
        CHECK(buf_ok(out) == 0);
        CHECK(json_scan_value((const char *)out->data, out->len, &again) == 0);
}

/* Writes everything that was taken; the order in the directory may be another then. */
static void save(Agent *a)
{
        for (Host *h = a->hosts; h; h = h->next)
                CHECK(host_save(h) == 0);
        for (Peer *p = a->peers; p; p = p->next) {
                char name[sizeof(p->name)];

                memcpy(name, p->name, sizeof(name));
                CHECK(peer_rename(p, name) == 0);
        }
}

static void check_again(const Buf *before, size_t n_before)
{
        Loaded again = {};
        Buf after = {};
        size_t n;

        load(&again);
        CHECK(again.agent);
        describe(again.agent, &after, &n);
        CHECK(n == n_before && after.len == before->len);
        if (n == 1)
                CHECK(memcmp(after.data, before->data, after.len) == 0);
        buf_done(&after);
        unload(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        uint8_t before[32], after[32];
        size_t n_files, n_taken = 0;
        Loaded l = {};
        Buf text = {};

        CHECK(sodium_init() >= 0);
        CHECK(unsetenv("CREDENTIALS_DIRECTORY") == 0);
        workdir_clear();
        workdir_write("master.key", key, sizeof(key));
        capture_begin();
        make_files(data, size);
        n_files = hash_records(before);
        load(&l);
        if (l.agent) {
                describe(l.agent, &text, &n_taken);
                CHECK(n_taken + l.agent->n_unreadable == n_files);
                CHECK(hash_records(after) == n_files && memcmp(before, after, 32) == 0);
                save(l.agent);
                check_again(&text, n_taken);
        }
        unload(&l);
        buf_done(&text);
        (void)capture_end();
        return 0;
}
