#include "store-internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <unistd.h>

#include "limits.h"
#include "log.h"

enum {
        FORMAT = 1, /* of records: what this linkd reads and writes */
        NONCE_BYTES = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
        TAG_BYTES = crypto_aead_xchacha20poly1305_ietf_ABYTES,
        HEAD_BYTES = 8 + RECORD_ID_BYTES,
        FILE_NAME_MAX = 64,
};

static const char *const kind_names[] = {
        [RECORD_HOST] = "host",
        [RECORD_DEVICE] = "device",
        [RECORD_PEER] = "peer",
};

static int write_all(int fd, const void *p, size_t len)
{
        for (size_t n = 0; n < len;) {
                ssize_t r = write(fd, (const uint8_t *)p + n, len - n);
                if (r < 0 && errno == EINTR)
                        continue;
                if (r < 0)
                        return -errno;
                n += (size_t)r;
        }
        return 0;
}

int store_write_atomic(Store *s, const char *name, const void *data, size_t len, bool sync)
{
        char tmp[FILE_NAME_MAX + 8];
        int r;

        (void)snprintf(tmp, sizeof(tmp), "%s.tmp", name); /* names are ours and short */
        _cleanup_(store_close_fdp) int fd =
                openat(s->dir_fd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        r = write_all(fd, data, len);
        if (r == 0 && sync && fsync(fd) < 0)
                r = -errno;
        if (r == 0 && renameat(s->dir_fd, tmp, s->dir_fd, name) < 0)
                r = -errno;
        if (r < 0) {
                (void)unlinkat(s->dir_fd, tmp, 0); /* a left-over .tmp is swept at the next start */
                return r;
        }
        if (sync && fsync(s->dir_fd) < 0)
                return -errno;
        return 0;
}

/* ---- names ---- */

RecordId store_new_id(void)
{
        RecordId id;
        randombytes_buf(id.b, sizeof(id.b));
        return id;
}

static void file_name(RecordKind kind, const RecordId *id, char out[FILE_NAME_MAX])
{
        char hex[2 * RECORD_ID_BYTES + 1];

        sodium_bin2hex(hex, sizeof(hex), id->b, sizeof(id->b));
        (void)snprintf(out, FILE_NAME_MAX, "%s-%s.rec", kind_names[kind], hex);
}

bool store_has_suffix(const char *name, const char *suffix)
{
        size_t n = strlen(name), m = strlen(suffix);
        return n >= m && strcmp(name + n - m, suffix) == 0;
}

/* Reads kind and id out of a file name; false: not a record's. */
static bool parse_file_name(const char *name, RecordKind *kind, RecordId *id)
{
        for (RecordKind k = RECORD_HOST; k <= RECORD_PEER; k++) {
                char expect[FILE_NAME_MAX];
                size_t n = strlen(kind_names[k]), len;

                if (strncmp(name, kind_names[k], n) != 0 || name[n] != '-')
                        continue;
                if (sodium_hex2bin(id->b, sizeof(id->b), name + n + 1, 2 * RECORD_ID_BYTES, NULL,
                                   &len, NULL) != 0 ||
                    len != sizeof(id->b))
                        return false;
                *kind = k;
                file_name(k, id, expect);
                return strcmp(name, expect) == 0;
        }
        return false;
}

bool store_is_record_name(const char *name)
{
        return store_has_suffix(name, ".rec");
}

int store_each_entry(Store *s, int (*func)(Store *s, const char *name, void *userdata),
                     void *userdata)
{
        int fd = openat(s->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;
        int r = 0;

        if (!d) {
                r = -errno;
                store_close_fdp(&fd);
                return r;
        }
        while (r == 0 && (errno = 0, e = readdir(d)))
                r = func(s, e->d_name, userdata);
        if (r == 0 && errno)
                r = -errno;
        (void)closedir(d);
        return r;
}

/* ---- records ---- */

static void make_head(uint8_t head[HEAD_BYTES], RecordKind kind, const RecordId *id)
{
        memcpy(head, "LKR1", 4);
        head[4] = FORMAT;
        head[5] = (uint8_t)kind;
        head[6] = head[7] = 0;
        memcpy(head + 8, id->b, RECORD_ID_BYTES);
}

/* 0 with *ret; -EBADMSG, or -EPROTONOSUPPORT for a newer format, with the fault for a record that
 * cannot be opened; -ENOENT: it is gone again; other errno. */
static int read_record(Store *s, const char *name, RecordKind kind, const RecordId *id,
                       Secret **ret, const char **ret_fault)
{
        uint8_t head[HEAD_BYTES];
        _cleanup_(freep) uint8_t *data = malloc(RECORD_MAX_BYTES + 1);
        _cleanup_(secret_freep) Secret *text = NULL;
        size_t len = 0, at = HEAD_BYTES + NONCE_BYTES;

        *ret_fault = "cannot be read";
        if (!data)
                return -ENOMEM;
        if (!s->master) /* opened to read, when there was no record yet */
                return -EBADMSG;
        _cleanup_(store_close_fdp) int fd =
                openat(s->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0 && errno == ENOENT)
                return -ENOENT;
        if (fd < 0 || store_read_all(fd, data, RECORD_MAX_BYTES + 1, &len) < 0)
                return -EBADMSG;
        *ret_fault =
                "was written by a newer linkd in a format that this one does not know: upgrade "
                "linkd";
        if (len >= HEAD_BYTES && memcmp(data, "LKR1", 4) == 0 && data[4] > FORMAT)
                return -EPROTONOSUPPORT;
        *ret_fault = "is cut short, too long, or of another kind";
        make_head(head, kind, id);
        if (len < at + TAG_BYTES || len > RECORD_MAX_BYTES || memcmp(data, head, HEAD_BYTES) != 0)
                return -EBADMSG;
        text = secret_new(len - at - TAG_BYTES);
        if (!text)
                return -ENOMEM;
        *ret_fault = "does not open with this master key, or was changed";
        if (crypto_aead_xchacha20poly1305_ietf_decrypt(text->data, NULL, NULL, data + at, len - at,
                                                       head, HEAD_BYTES, data + HEAD_BYTES,
                                                       s->master->data) != 0)
                return -EBADMSG;
        *ret = TAKE_PTR(text);
        return 0;
}

typedef struct LoadState {
        StoreRecordFunc func;
        void *userdata;
        unsigned opened, failed, newer;
} LoadState;

static int load_entry(Store *s, const char *name, void *userdata)
{
        LoadState *l = userdata;
        _cleanup_(secret_freep) Secret *text = NULL;
        const char *why = NULL;
        RecordKind kind;
        RecordId id;
        int r;

        if (!store_is_record_name(name))
                return 0;
        if (!parse_file_name(name, &kind, &id)) {
                log_warning("%s/%s is ignored: that is no name of a record", s->dir, name);
                return 0;
        }
        r = read_record(s, name, kind, &id, &text, &why);
        if (r == 0)
                l->opened++;
        else if (r == -EBADMSG)
                l->failed++;
        else if (r == -EPROTONOSUPPORT)
                l->newer++;
        else
                return r == -ENOENT ? 0 : r;
        return l->func(l->userdata, kind, &id, text, name, text ? NULL : why);
}

int store_load(Store *s, StoreRecordFunc func, void *userdata, char **ret_fault)
{
        LoadState l = {.func = func, .userdata = userdata};
        int r = store_each_entry(s, load_entry, &l);

        if (r < 0)
                return store_fault(ret_fault, r, "cannot read the state directory %s: %s", s->dir,
                                   strerror(-r));
        if (l.newer && !l.opened)
                return store_fault(ret_fault, -EPROTONOSUPPORT,
                                   "the records in %s were written by a newer linkd: upgrade this "
                                   "one",
                                   s->dir);
        if (l.failed && !l.opened)
                return store_fault(
                        ret_fault, -EKEYREJECTED,
                        "the master key opens none of the %u records in %s: it is not the key "
                        "they were sealed with",
                        l.failed, s->dir);
        return 0;
}

int store_write(Store *s, RecordKind kind, const RecordId *id, const char *text, size_t len)
{
        char name[FILE_NAME_MAX];
        size_t at = HEAD_BYTES + NONCE_BYTES, size = at + len + TAG_BYTES;
        _cleanup_(freep) uint8_t *data = NULL;

        if (size > RECORD_MAX_BYTES)
                return -EFBIG;
        data = malloc(size);
        if (!data)
                return -ENOMEM;
        make_head(data, kind, id);
        randombytes_buf(data + HEAD_BYTES, NONCE_BYTES);
        (void)crypto_aead_xchacha20poly1305_ietf_encrypt(
                data + at, NULL, (const uint8_t *)text, len, data, HEAD_BYTES, NULL,
                data + HEAD_BYTES, s->master->data); /* always 0 */
        file_name(kind, id, name);
        return store_write_atomic(s, name, data, size, true);
}

int store_remove_all(Store *s, RecordKind kind, const RecordId *ids, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                char name[FILE_NAME_MAX];
                file_name(kind, &ids[i], name);
                if (unlinkat(s->dir_fd, name, 0) < 0 && errno != ENOENT)
                        return -errno;
        }
        return fsync(s->dir_fd) < 0 ? -errno : 0;
}

int store_remove(Store *s, RecordKind kind, const RecordId *id)
{
        return store_remove_all(s, kind, id, 1);
}

int store_write_plain(Store *s, const char *name, const char *text, size_t len)
{
        return store_write_atomic(s, name, text, len, false);
}

int store_read_plain(Store *s, const char *name, size_t max, char **ret, size_t *ret_len)
{
        _cleanup_(freep) char *text = malloc(max + 2);
        size_t n;
        int r;

        if (!text)
                return -ENOMEM;
        _cleanup_(store_close_fdp) int fd =
                openat(s->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0)
                return -errno;
        r = store_read_all(fd, text, max + 1, &n);
        if (r < 0)
                return r;
        if (n > max)
                return -EFBIG;
        text[n] = '\0';
        *ret = TAKE_PTR(text);
        *ret_len = n;
        return 0;
}
