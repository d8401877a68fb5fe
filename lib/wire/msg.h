/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The messages of version 1: sockd-protocol(7), "Messages".
 *
 * Each has one struct, one encoder and one decoder; the two stand together,
 * those of the requests in msg_request.c, the others in msg.c.  An encoder
 * writes the payload through a wcur; a decoder checks every field and that
 * nothing is left over, and returns 0 or -ERR_PROTOCOL (or -ERR_BAD_NAME and
 * -ERR_NAME_TOO_LONG from path_check, on which the connection can go on; the
 * message is then filled all the same, because its other fields tell what
 * follows it).  Strings in a decoded message are borrowed from the payload.
 * Pure: no system call, no allocation.
 */
#ifndef SOCKD_WIRE_MSG_H
#define SOCKD_WIRE_MSG_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/cursor.h"

#define DIGEST_LEN       32
#define MSG_TAG_LEN      16
#define MSG_RUN_LEN      16
#define MSG_SECRET_LEN   16
#define MSG_AGENT_MAX    64
#define MSG_TEXT_MAX     512
#define MSG_SIZE_UNKNOWN UINT64_MAX
#define MSG_SIZE_MAX     INT64_MAX /* of sizes and offsets: what off_t holds */

enum msg_type {
	/* connection */
	MSG_HELLO = 1, /* both, once, first */
	MSG_ERROR = 2, /* answer; with id 0: the connection ends */
	MSG_NOTE = 3,  /* both: "still at work", while a digest or a flush runs */
	/* requests of the client */
	MSG_ASK = 16,   /* what stands under this name? -> OFFER [PROOF] */
	MSG_PUT = 17,   /* FILE DATA… END follow        -> DONE */
	MSG_GET = 18,   /* [PROOF follows]              -> FILE DATA… END */
	MSG_LIST = 19,  /*                              -> ENTRY… LISTED */
	MSG_NEXT = 20,  /* next part of the last LIST   -> ENTRY… LISTED */
	MSG_MKDIR = 21, /*                              -> OK */
	MSG_LINK = 22,  /* symbolic link                -> OK */
	MSG_ATTR = 23,  /* mode and times of a directory -> OK */
	MSG_FLUSH = 24, /* all before this is on disk   -> OK */
	MSG_STAT = 25,  /* the named object itself      -> ENTRY */
	MSG_JOIN = 26,  /* takes up an invitation       -> OK */
	/* a file under way, from its sender */
	MSG_FILE = 32,
	MSG_DATA = 33,
	MSG_CHECK = 34,
	MSG_END = 35,
	MSG_ABORT = 36,
	MSG_HOLE = 37, /* zeros, in place of DATA */
	/* a partial, from its receiver */
	MSG_OFFER = 48,
	MSG_PROOF = 49,
	/* answers */
	MSG_DONE = 64,
	MSG_OK = 65,
	MSG_ENTRY = 66,
	MSG_LISTED = 67,
};

/* The limits of a type's payload; false for a type this version does not have. */
bool msg_limits(uint8_t type, uint32_t *min_out, uint32_t *max_out);
const char *msg_name(uint8_t type); /* "PUT"; "unknown" */

/* Largest payload of any message but DATA. */
#define MSG_PAYLOAD_MAX 24576u

struct msg_time {
	int64_t sec;
	uint32_t nsec; /* < 1,000,000,000 */
};

struct msg_hello {
	uint16_t version;         /* 1 */
	uint32_t chunk_size;      /* largest DATA taken; a power of two in limits */
	uint32_t depth;           /* unanswered requests allowed, 1 … 65535 */
	uint64_t features;        /* bits; unknown ones are ignored */
	uint8_t run[MSG_RUN_LEN]; /* random, one for all connections of a client run */
	struct wire_str agent;    /* "sockcp 0.1", for logs only */
};

struct msg_error {            /* ERROR, ABORT */
	uint16_t code;        /* enum err, below ERR_LOCAL */
	struct wire_str text; /* for people; raw, escape before showing */
};

struct msg_note {
	uint64_t done; /* bytes worked through, never less than in the last */
};

enum {
	ASK_PARTIAL = 1u << 0,    /* offer what an earlier connection left unfinished */
	ASK_UPDATE = 1u << 1,     /* say OFFER_SAME when size and mtime are equal */
	ASK_NO_CLOBBER = 1u << 2, /* ERROR EXISTS when the name exists */
	ASK_WHOLE =
		1u << 3, /* offer a finished file of this size: its DONE may be lost */
	ASK_KNOWN = (1u << 4) - 1,
};

struct msg_ask {
	uint32_t flags;
	uint64_t size; /* or MSG_SIZE_UNKNOWN */
	struct msg_time mtime;
	uint8_t tag[MSG_TAG_LEN]; /* names the source, see msg_put */
	struct wire_str path;
};

enum offer_kind {
	OFFER_NONE = 0,    /* start at 0 */
	OFFER_PARTIAL = 1, /* an unfinished transfer of OFFSET bytes; PROOF follows */
	OFFER_WHOLE = 2,   /* a file of the same size stands there; PROOF follows */
	OFFER_SAME = 3,    /* size and time are equal: nothing to do */
};

struct msg_offer {
	uint8_t kind; /* enum offer_kind */
	uint64_t offset;
};

struct msg_proof {
	uint8_t digest[DIGEST_LEN]; /* of the first OFFSET bytes */
};

enum {
	PUT_PARENTS = 1u << 0,    /* make missing parent directories */
	PUT_NO_CLOBBER = 1u << 1, /* never replace */
	PUT_NO_SYNC = 1u << 2,    /* answer without waiting for the disk */
	PUT_PRESERVE = 1u << 3,   /* take mode and mtime of FILE exactly */
	PUT_RESUMABLE = 1u << 4,  /* keep what arrives as a partial if this breaks off */
	PUT_KNOWN = (1u << 5) - 1,
};

enum digest_alg { DIGEST_SHA256 = 1 };

struct msg_put {
	uint32_t flags;
	uint8_t alg; /* enum digest_alg */
	/* Chosen by the client, the same again when it sends the same source to
	 * the same name: it tells its own partial from those of others. */
	uint8_t tag[MSG_TAG_LEN];
	struct wire_str path;
};

struct msg_get {
	uint8_t alg;
	uint64_t offset; /* the length of our partial; PROOF follows when not 0 */
	struct wire_str path;
};

enum {
	FILE_SPARSE = 1u << 0, /* it may need less room than its size says */
	FILE_KNOWN = (1u << 1) - 1,
};

struct msg_file {
	uint64_t size;   /* or MSG_SIZE_UNKNOWN */
	uint64_t offset; /* where DATA begins; the offered one, or 0 */
	uint32_t mode;   /* permission bits, 0777 at the most */
	struct msg_time mtime;
	uint32_t flags;
};

/* How many bytes are to come; 0 where that is not known. */
static inline uint64_t msg_file_left(const struct msg_file *m)
{
	return m->size == MSG_SIZE_UNKNOWN ? 0 : m->size - m->offset;
}

struct msg_hole {     /* the next bytes of the file are so many zeros */
	uint32_t len; /* 1 … CHECKPOINT_INTERVAL */
};

struct msg_check { /* CHECK: digest of all bytes up to here; END: of all */
	uint64_t offset;
	uint8_t digest[DIGEST_LEN];
};

enum durability {
	DURABLE_NOT = 0,  /* handed to the operating system */
	DURABLE_DISK = 1, /* file, name and directory were flushed */
};

struct msg_done {
	uint8_t durability; /* enum durability */
	uint64_t size;
	uint8_t digest[DIGEST_LEN]; /* what the receiver has */
};

struct msg_ok {
	uint8_t durability;
};

enum {
	LIST_RECURSIVE = 1u << 0,
	LIST_KNOWN = (1u << 1) - 1,
};

struct msg_list {
	uint32_t flags;
	uint32_t max; /* entries in one part, 1 … 4096; 0 is 1024 */
	struct wire_str path;
};

struct msg_stat {
	struct wire_str path; /* links are followed */
};

struct msg_next {
	uint32_t max;
};

enum entry_kind {
	ENTRY_FILE = 1,
	ENTRY_DIR = 2,
	ENTRY_LINK = 3,
	ENTRY_OTHER = 4, /* socket, fifo, device: named so that it can be reported */
	ENTRY_ERROR = 5, /* could not be looked at: CODE says why */
};

struct msg_entry {
	uint8_t kind;
	uint16_t code; /* enum err for ENTRY_ERROR, else 0 */
	uint64_t size;
	uint32_t mode;
	struct msg_time mtime;
	struct wire_str path;   /* relative to the LIST's path; empty for STAT */
	struct wire_str target; /* of a link */
};

struct msg_listed {
	uint8_t more; /* 1 when NEXT would yield entries */
};

struct msg_mkdir {
	uint32_t flags; /* PUT_PARENTS, PUT_NO_SYNC */
	uint32_t mode;
	struct wire_str path;
};

struct msg_link {
	uint32_t flags; /* PUT_PARENTS, PUT_NO_CLOBBER, PUT_NO_SYNC */
	struct wire_str path;
	struct wire_str target;
};

struct msg_attr {
	uint32_t mode;
	struct msg_time mtime;
	struct wire_str path;
};

struct msg_join {
	uint8_t secret[MSG_SECRET_LEN]; /* of the invitation */
};

void msg_hello_encode(struct wcur *c, const struct msg_hello *m);
int msg_hello_decode(struct msg_hello *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_error_encode(struct wcur *c, const struct msg_error *m);
int msg_error_decode(struct msg_error *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_note_encode(struct wcur *c, const struct msg_note *m);
int msg_note_decode(struct msg_note *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_ask_encode(struct wcur *c, const struct msg_ask *m);
int msg_ask_decode(struct msg_ask *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_offer_encode(struct wcur *c, const struct msg_offer *m);
int msg_offer_decode(struct msg_offer *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_proof_encode(struct wcur *c, const struct msg_proof *m);
int msg_proof_decode(struct msg_proof *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_put_encode(struct wcur *c, const struct msg_put *m);
int msg_put_decode(struct msg_put *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_get_encode(struct wcur *c, const struct msg_get *m);
int msg_get_decode(struct msg_get *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_file_encode(struct wcur *c, const struct msg_file *m);
int msg_file_decode(struct msg_file *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_hole_encode(struct wcur *c, const struct msg_hole *m);
int msg_hole_decode(struct msg_hole *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_check_encode(struct wcur *c, const struct msg_check *m);
int msg_check_decode(struct msg_check *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_done_encode(struct wcur *c, const struct msg_done *m);
int msg_done_decode(struct msg_done *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_ok_encode(struct wcur *c, const struct msg_ok *m);
int msg_ok_decode(struct msg_ok *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_list_encode(struct wcur *c, const struct msg_list *m);
int msg_list_decode(struct msg_list *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_next_encode(struct wcur *c, const struct msg_next *m);
int msg_next_decode(struct msg_next *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_entry_encode(struct wcur *c, const struct msg_entry *m);
int msg_entry_decode(struct msg_entry *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_listed_encode(struct wcur *c, const struct msg_listed *m);
int msg_listed_decode(struct msg_listed *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_mkdir_encode(struct wcur *c, const struct msg_mkdir *m);
int msg_mkdir_decode(struct msg_mkdir *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_link_encode(struct wcur *c, const struct msg_link *m);
int msg_link_decode(struct msg_link *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_attr_encode(struct wcur *c, const struct msg_attr *m);
int msg_attr_decode(struct msg_attr *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_stat_encode(struct wcur *c, const struct msg_stat *m);
int msg_stat_decode(struct msg_stat *out, const uint8_t *p, size_t len) MUST_CHECK;
void msg_join_encode(struct wcur *c, const struct msg_join *m);
int msg_join_decode(struct msg_join *out, const uint8_t *p, size_t len) MUST_CHECK;

#endif
