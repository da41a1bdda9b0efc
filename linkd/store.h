/* The agent's state directory: one small sealed record a file, written so that a crash or a full
 * disk at any moment leaves the old record or the new one (docs/SECURITY.md "State at rest").
 *
 *   record = "LKR1" | u8 format 1 | u8 kind | u16 0 | 16-byte id | 24-byte nonce | sealed JSON
 * text
 *
 * sealed by XChaCha20-Poly1305 under the master key, the 24 bytes before the nonce as associated
 * data. The file's name is "KIND-ID.rec": the id is random and never changes; given names are
 * inside. */
#pragma once

#include "liblinkproto/secret.h"

typedef struct Store Store;

enum { RECORD_ID_BYTES = 16 };

typedef struct RecordId {
        uint8_t b[RECORD_ID_BYTES];
} RecordId;

typedef enum RecordKind { RECORD_HOST = 1, RECORD_DEVICE = 2, RECORD_PEER = 3 } RecordKind;

/* Opens (makes, 0700) the directory, takes its lock and the master key. The key comes from
 * $CREDENTIALS_DIRECTORY/linkd.master, else from master.key in the directory, which is made only
 * where there is no record. 0, or negative errno with the fault in words: *ret_fault (free()). */
int store_open(Store **ret, const char *dir, char **ret_fault) _must_use_;
/* The same to look only: makes and changes nothing, takes no lock (so that an agent may be using
 * it), and wants a key only where there are records. */
int store_open_to_read(Store **ret, const char *dir, char **ret_fault) _must_use_;
Store *store_close(Store *s);
DEFINE_CLEANUP(Store, store_close)
const char *store_dir(const Store *s);

/* Called for each record in no particular order; text is the plaintext, NULL for a record that
 * could not be read, whose fault is told then. Negative errno stops. */
typedef int (*StoreRecordFunc)(void *userdata, RecordKind kind, const RecordId *id,
                               const Secret *text, const char *file, const char *fault);
/* Reads all records; one of a newer format is not read, so that nothing of it is lost.
 * -EKEYREJECTED
 * (*ret_fault says why): there are records and the key opens none; -EPROTONOSUPPORT: all that it
 * might open are of a newer format. */
int store_load(Store *s, StoreRecordFunc func, void *userdata, char **ret_fault) _must_use_;

/* A new id for a record. */
RecordId store_new_id(void);
/* What a change of the records may come to besides 0 and negative errno. */
enum {
        STORE_UNSYNCED = 1, /* done, but the disk did not confirm it: a crash may undo it. Logged */
};

/* Writes a record, durably: when it returns 0 the new content survives a crash. Negative errno: the
 * old content is still there (or has been put back); -ESTALE: the directory itself was removed. */
int store_write(Store *s, RecordKind kind, const RecordId *id, const char *text,
                size_t len) _must_use_;
/* Removes a record, durably. 0 also if there was none; STORE_UNSYNCED; negative errno: it is still
 * there. */
int store_remove(Store *s, RecordKind kind, const RecordId *id) _must_use_;
/* The two halves of it, for several with one sync. */
int store_unlink(Store *s, RecordKind kind, const RecordId *id) _must_use_;
int store_sync(Store *s) _must_use_;

/* Writes a file and removes it again. 0, or why it cannot; -ESTALE: what has the directory's name
 * is not the directory in use. */
int store_try_write(Store *s) _must_use_;
/* Whether it seems that the directory can be written, without trying: 0, -EROFS, -EACCES, -ENOSPC.
 */
int store_check_writable(const Store *s) _must_use_;
/* How the last attempt to write or remove something ended. */
int store_last_error(const Store *s);
/* What to do about an error of writing, for people: a clause. */
const char *store_remedy(int error);

/* A file of the directory that holds no secret: written atomically, not synced. */
int store_write_plain(Store *s, const char *name, const char *text, size_t len) _must_use_;
/* *ret: its content, NUL-terminated, free(). -ENOENT; -EFBIG beyond max bytes. */
int store_read_plain(Store *s, const char *name, size_t max, char **ret,
                     size_t *ret_len) _must_use_;
