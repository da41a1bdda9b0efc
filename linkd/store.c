#include "store-internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
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

/* Opens a new file: whatever has that name goes first, so that a FIFO or a link that somebody left
 * there is neither waited for nor followed. */
static int open_new(Store *s, const char *name)
{
        int fd;

        if (unlinkat(s->dir_fd, name, 0) < 0 && errno != ENOENT)
                return -errno;
        fd = openat(s->dir_fd, name,
                    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (fd < 0)
                return errno == ENOENT ? -ESTALE : -errno;
        return fd;
}

/* Temporary file and rename. The directory is not synced. */
static int replace_file(Store *s, const char *name, const void *data, size_t len, bool sync)
{
        char tmp[FILE_NAME_MAX + 8];
        int r;

        (void)snprintf(tmp, sizeof(tmp), "%s.tmp", name); /* names are ours and short */
        _cleanup_(store_close_fdp) int fd = open_new(s, tmp);
        if (fd < 0)
                return fd;
        r = write_all(fd, data, len);
        if (r == 0 && sync && fsync(fd) < 0)
                r = -errno;
        if (r == 0 && renameat(s->dir_fd, tmp, s->dir_fd, name) < 0)
                r = -errno;
        if (r < 0) {
                (void)unlinkat(s->dir_fd, tmp, 0); /* a left-over .tmp is swept at the next start */
                return r;
        }
        return 0;
}

/* Puts back what a name held (NULL: nothing): the caller is told that nothing has changed. */
static void restore(Store *s, const char *name, const char *old, size_t len)
{
        int r = old ? replace_file(s, name, old, len, false) : unlinkat(s->dir_fd, name, 0);

        if (r < 0)
                log_error("%s/%s: a change that failed could not be taken back: %s", s->dir, name,
                          strerror(old ? -r : errno));
}

int store_write_atomic(Store *s, const char *name, const void *data, size_t len, bool sync)
{
        _cleanup_(freep) char *old = NULL;
        size_t old_len = 0;
        int r = sync ? store_read_plain(s, name, RECORD_MAX_BYTES, &old, &old_len) : 0;

        if (r < 0 && r != -ENOENT)
                return s->last_error = r;
        r = replace_file(s, name, data, len, sync);
        if (r == 0 && sync && fsync(s->dir_fd) < 0) {
                r = -errno;
                restore(s, name, old, old_len);
        }
        return s->last_error = r;
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
                        "the master key (%s) opens none of the %u records in %s: it is not the key "
                        "they were sealed with; put that one back, or move the records away to "
                        "begin anew",
                        s->master_from ? s->master_from : "none", l.failed, s->dir);
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

int store_unlink(Store *s, RecordKind kind, const RecordId *id)
{
        char name[FILE_NAME_MAX];

        file_name(kind, id, name);
        return s->last_error = unlinkat(s->dir_fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

int store_sync(Store *s)
{
        s->last_error = fsync(s->dir_fd) < 0 ? -errno : 0;
        if (s->last_error == 0)
                return 0;
        log_error("%s cannot be synced: %s; a record that was just removed may be back after a "
                  "crash",
                  s->dir, strerror(-s->last_error));
        return STORE_UNSYNCED;
}

int store_remove(Store *s, RecordKind kind, const RecordId *id)
{
        int r = store_unlink(s, kind, id);

        return r < 0 ? r : store_sync(s);
}

int store_try_write(Store *s)
{
        static const char name[] = "try.tmp"; /* swept at the next start, should it stay */
        uint8_t bytes[4096] = {};
        struct stat named, used;
        int r;

        if (fstat(s->dir_fd, &used) < 0)
                return s->last_error = -errno;
        if (stat(s->dir, &named) < 0 || named.st_ino != used.st_ino || named.st_dev != used.st_dev)
                return s->last_error = -ESTALE;
        r = store_write_atomic(s, name, bytes, sizeof(bytes), true);
        if (r == 0 && unlinkat(s->dir_fd, name, 0) < 0)
                r = -errno;
        return r;
}

int store_check_writable(const Store *s)
{
        struct statvfs v;

        if (faccessat(s->dir_fd, ".", W_OK, AT_EACCESS) < 0)
                return -errno;
        if (fstatvfs(s->dir_fd, &v) < 0)
                return -errno;
        /* Some file systems count neither. */
        return (v.f_blocks && v.f_bavail == 0) || (v.f_files && v.f_favail == 0) ? -ENOSPC : 0;
}

int store_last_error(const Store *s)
{
        return s->last_error;
}

const char *store_remedy(int error)
{
        switch (-error) {
        case ENOSPC:
        case EDQUOT:
                return "make room on its disk (df -h, df -i) and try again";
        case EROFS:
                return "mount it writable (the kernel's log may say why it is not) and try again";
        case EACCES:
        case EPERM:
                return "give it to linkd's user";
        case ESTALE:
                return "it was removed or replaced while linkd runs: put it back, and restart "
                       "linkd";
        case EMFILE:
        case ENFILE:
                return "raise the limit of open files (LimitNOFILE=), or close sessions";
        default:
                return "look at its disk (the kernel's log) and try again";
        }
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
