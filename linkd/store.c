#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "limits.h"
#include "log.h"

enum {
        MASTER_KEY_BYTES = crypto_aead_xchacha20poly1305_ietf_KEYBYTES,
        NONCE_BYTES = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
        TAG_BYTES = crypto_aead_xchacha20poly1305_ietf_ABYTES,
        HEAD_BYTES = 8 + RECORD_ID_BYTES,
        FILE_NAME_MAX = 64,
};

static const char master_name[] = "master.key";
static const char credential_name[] = "linkd.master"; /* systemd.exec(5) LoadCredential= */

struct Store {
        char *dir;
        int dir_fd;
        int lock_fd;
        Secret *master;
};

static const char *const kind_names[] = {
        [RECORD_HOST] = "host",
        [RECORD_DEVICE] = "device",
        [RECORD_PEER] = "peer",
};

static void closep(int *fd)
{
        if (*fd >= 0)
                (void)close(*fd); /* read-only, or already synced */
}

/* Formats a fault for the caller to print, and passes the error on. */
static int fault(char **ret, int error, const char *format, ...) _printf_(3, 4);
static int fault(char **ret, int error, const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        if (vasprintf(ret, format, ap) < 0)
                *ret = NULL;
        va_end(ap);
        return error;
}

static int read_all(int fd, void *p, size_t size, size_t *ret)
{
        size_t n = 0;

        while (n < size) {
                ssize_t r = read(fd, (uint8_t *)p + n, size - n);
                if (r < 0 && errno == EINTR)
                        continue;
                if (r < 0)
                        return -errno;
                if (r == 0)
                        break;
                n += (size_t)r;
        }
        *ret = n;
        return 0;
}

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

/* Temporary file, sync, rename, sync of the directory. On failure nothing is left behind. */
static int write_atomic(Store *s, const char *name, const void *data, size_t len, bool sync)
{
        char tmp[FILE_NAME_MAX + 8];
        int r;

        (void)snprintf(tmp, sizeof(tmp), "%s.tmp", name); /* names are ours and short */
        _cleanup_(closep) int fd =
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

static bool has_suffix(const char *name, const char *suffix)
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

static bool is_record_name(const char *name)
{
        return has_suffix(name, ".rec");
}

/* Calls func for each entry until it returns nonzero, which is handed on. */
static int each_entry(Store *s, int (*func)(Store *s, const char *name, void *userdata),
                      void *userdata)
{
        int fd = openat(s->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;
        int r = 0;

        if (!d) {
                r = -errno;
                closep(&fd);
                return r;
        }
        while (r == 0 && (errno = 0, e = readdir(d)))
                r = func(s, e->d_name, userdata);
        if (r == 0 && errno)
                r = -errno;
        (void)closedir(d);
        return r;
}

/* ---- opening ---- */

/* Makes the directories above a path, as a first start of `linkd --user` needs it. */
static int make_parents(const char *path)
{
        _cleanup_(freep) char *copy = strdup(path);

        if (!copy)
                return -ENOMEM;
        for (char *p = copy + 1; *p; p++) {
                if (*p != '/')
                        continue;
                *p = '\0';
                if (mkdir(copy, 0700) < 0 && errno != EEXIST)
                        return -errno;
                *p = '/';
        }
        return 0;
}

/* A new directory survives a crash once its name in the one above does. */
static int sync_parent(int dir_fd)
{
        _cleanup_(closep) int fd = openat(dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* What is checked is what was opened: the name may lead elsewhere a moment later. */
static int check_dir(const Store *s, char **ret_fault)
{
        struct stat st;

        if (fstat(s->dir_fd, &st) < 0)
                return fault(ret_fault, -errno, "state directory %s: %s", s->dir, strerror(errno));
        if (st.st_uid != geteuid())
                return fault(ret_fault, -EPERM,
                             "state directory %s belongs to uid %u, not to uid %u", s->dir,
                             st.st_uid, geteuid());
        if (st.st_mode & 0077)
                return fault(ret_fault, -EPERM,
                             "state directory %s is open to others (mode %04o); run: chmod 700 %s",
                             s->dir, st.st_mode & 07777, s->dir);
        return 0;
}

static int open_dir(Store *s, char **ret_fault)
{
        int r = make_parents(s->dir);
        bool made = r == 0 && mkdir(s->dir, 0700) == 0;

        if (r == 0 && !made && errno != EEXIST)
                r = -errno;
        if (r < 0)
                return fault(ret_fault, r, "cannot make the state directory %s: %s", s->dir,
                             strerror(-r));
        s->dir_fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->dir_fd < 0)
                return fault(ret_fault, -errno, "state directory %s: %s", s->dir, strerror(errno));
        if (made && (r = sync_parent(s->dir_fd)) < 0)
                log_warning("the directory above %s cannot be synced: %s", s->dir, strerror(-r));
        return check_dir(s, ret_fault);
}

static int take_lock(Store *s, char **ret_fault)
{
        char pid[32] = "";
        size_t n;

        s->lock_fd = openat(s->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (s->lock_fd < 0)
                return fault(ret_fault, -errno, "cannot write in the state directory %s: %s",
                             s->dir, strerror(errno));
        if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0) {
                int error = -errno;
                if (error != -EWOULDBLOCK)
                        return fault(ret_fault, error, "cannot lock the state directory %s: %s",
                                     s->dir, strerror(-error));
                if (read_all(s->lock_fd, pid, sizeof(pid) - 1, &n) < 0 || n == 0)
                        strcpy(pid, "unknown"); /* fits */
                pid[strspn(pid, "0123456789unkow")] = '\0';
                return fault(ret_fault, error,
                             "another linkd (pid %s) is using the state directory %s", pid, s->dir);
        }
        n = (size_t)snprintf(pid, sizeof(pid), "%d\n", getpid());
        if (ftruncate(s->lock_fd, 0) < 0 || pwrite(s->lock_fd, pid, n, 0) < 0)
                return fault(ret_fault, -errno, "cannot write in the state directory %s: %s",
                             s->dir, strerror(errno));
        return 0;
}

/* The state directory's own key is a plain file that no one else reads; a dangling link is not "no
 * key", which would make a new one. */
static int check_master(int fd, const char *dir, char **ret_fault)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return fault(ret_fault, -errno, "cannot read the master key %s/%s: %s", dir,
                             master_name, strerror(errno));
        if (!S_ISREG(st.st_mode) || st.st_mode & 0077)
                return fault(ret_fault, -EPERM,
                             "the master key %s/%s must be a file that is closed to others; run: "
                             "chmod 600 %s/%s",
                             dir, master_name, dir, master_name);
        return 0;
}

static int load_master(Store *s, int dir_fd, const char *dir, const char *name, char **ret_fault)
{
        const bool ours = dir_fd == s->dir_fd; /* systemd looks after its credentials itself */
        uint8_t extra;
        size_t n = 0, more = 0;
        int r;

        _cleanup_(closep) int fd =
                openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | (ours ? O_NOFOLLOW : 0));
        if (fd < 0)
                return -errno == -ENOENT
                               ? -ENOENT
                               : fault(ret_fault, -errno, "cannot read the master key %s/%s: %s",
                                       dir, name, strerror(errno));
        r = ours ? check_master(fd, dir, ret_fault) : 0;
        if (r < 0)
                return r;
        s->master = secret_new(MASTER_KEY_BYTES);
        if (!s->master)
                return -ENOMEM;
        r = read_all(fd, s->master->data, MASTER_KEY_BYTES, &n);
        if (r == 0)
                r = read_all(fd, &extra, 1, &more);
        if (r < 0)
                return fault(ret_fault, r, "cannot read the master key %s/%s: %s", dir, name,
                             strerror(-r));
        if (n != MASTER_KEY_BYTES || more)
                return fault(ret_fault, -EBADMSG, "the master key %s/%s is not %d bytes long", dir,
                             name, MASTER_KEY_BYTES);
        return 0;
}

static int stop_at_record(Store *s, const char *name, void *userdata)
{
        (void)s;
        (void)userdata;
        return is_record_name(name);
}

static int make_master(Store *s, char **ret_fault)
{
        int r = each_entry(s, stop_at_record, NULL);

        if (r > 0)
                return fault(
                        ret_fault, -ENOKEY,
                        "the master key %s/%s is missing, but there are records sealed with it: "
                        "put it back, or move the records away to begin anew",
                        s->dir, master_name);
        if (r < 0)
                return fault(ret_fault, r, "cannot read the state directory %s: %s", s->dir,
                             strerror(-r));
        s->master = secret_new(MASTER_KEY_BYTES);
        if (!s->master)
                return -ENOMEM;
        randombytes_buf(s->master->data, s->master->len);
        r = write_atomic(s, master_name, s->master->data, s->master->len, true);
        if (r < 0)
                return fault(ret_fault, r, "cannot write the master key %s/%s: %s", s->dir,
                             master_name, strerror(-r));
        return 0;
}

static int take_master(Store *s, char **ret_fault)
{
        const char *dir = getenv("CREDENTIALS_DIRECTORY");
        int r = -ENOENT;

        if (dir) {
                _cleanup_(closep) int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (fd < 0)
                        return fault(ret_fault, -errno, "credentials directory %s: %s", dir,
                                     strerror(errno));
                r = load_master(s, fd, dir, credential_name, ret_fault);
        }
        if (r == -ENOENT)
                r = load_master(s, s->dir_fd, s->dir, master_name, ret_fault);
        if (r == -ENOENT)
                r = make_master(s, ret_fault);
        return r;
}

static int sweep_temporary(Store *s, const char *name, void *userdata)
{
        (void)userdata;
        if (has_suffix(name, ".tmp"))
                (void)unlinkat(s->dir_fd, name, 0); /* harmless if it stays */
        return 0;
}

int store_open(Store **ret, const char *dir, char **ret_fault)
{
        _cleanup_(store_closep) Store *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        s->dir_fd = s->lock_fd = -1;
        s->dir = strdup(dir);
        if (!s->dir)
                return -ENOMEM;
        r = open_dir(s, ret_fault);
        if (r == 0)
                r = take_lock(s, ret_fault);
        if (r == 0)
                r = each_entry(s, sweep_temporary, NULL);
        if (r == 0)
                r = take_master(s, ret_fault);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

Store *store_close(Store *s)
{
        if (!s)
                return NULL;
        secret_free(s->master);
        closep(&s->lock_fd);
        closep(&s->dir_fd);
        free(s->dir);
        free(s);
        return NULL;
}

const char *store_dir(const Store *s)
{
        return s->dir;
}

/* ---- records ---- */

static void make_head(uint8_t head[HEAD_BYTES], RecordKind kind, const RecordId *id)
{
        memcpy(head, "LKR1", 4);
        head[4] = 1;
        head[5] = (uint8_t)kind;
        head[6] = head[7] = 0;
        memcpy(head + 8, id->b, RECORD_ID_BYTES);
}

/* 0 with *ret; -EBADMSG with the fault for a record that cannot be opened; other errno. */
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
        _cleanup_(closep) int fd =
                openat(s->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0 || read_all(fd, data, RECORD_MAX_BYTES + 1, &len) < 0)
                return -EBADMSG;
        *ret_fault = "is cut short, too long, or of another kind or version";
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
        unsigned opened, failed;
} LoadState;

static int load_entry(Store *s, const char *name, void *userdata)
{
        LoadState *l = userdata;
        _cleanup_(secret_freep) Secret *text = NULL;
        const char *why = NULL;
        RecordKind kind;
        RecordId id;
        int r;

        if (!is_record_name(name) || !parse_file_name(name, &kind, &id))
                return 0;
        r = read_record(s, name, kind, &id, &text, &why);
        if (r == 0)
                l->opened++;
        else if (r == -EBADMSG)
                l->failed++;
        else
                return r;
        return l->func(l->userdata, kind, &id, text, name, text ? NULL : why);
}

int store_load(Store *s, StoreRecordFunc func, void *userdata, char **ret_fault)
{
        LoadState l = {.func = func, .userdata = userdata};
        int r = each_entry(s, load_entry, &l);

        if (r < 0)
                return fault(ret_fault, r, "cannot read the state directory %s: %s", s->dir,
                             strerror(-r));
        if (l.failed && !l.opened)
                return fault(ret_fault, -EKEYREJECTED,
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
        return write_atomic(s, name, data, size, true);
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
        return write_atomic(s, name, text, len, false);
}

int store_read_plain(Store *s, const char *name, size_t max, char **ret, size_t *ret_len)
{
        _cleanup_(freep) char *text = malloc(max + 2);
        size_t n;
        int r;

        if (!text)
                return -ENOMEM;
        _cleanup_(closep) int fd =
                openat(s->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0)
                return -errno;
        r = read_all(fd, text, max + 1, &n);
        if (r < 0)
                return r;
        if (n > max)
                return -EFBIG;
        text[n] = '\0';
        *ret = TAKE_PTR(text);
        *ret_len = n;
        return 0;
}
