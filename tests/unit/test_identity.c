/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <ctype.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/err.h"
#include "crypto/identity_impl.h"
#include "scratch.h"

#define FILE_NAME "identity.pem"

static struct scratch top;
static char text[64];

static void setup(void)
{
	scratch_init(&top);
	umask(0);
}

static void teardown(void)
{
	scratch_fini(&top);
}

TestSuite(identity, .init = setup, .fini = teardown, .timeout = 120);

/* -- Fingerprints -------------------------------------------------------- */

/* Made by openssl genpkey and req -x509; its fingerprint by openssl pkey -outform der,
 * dgst -sha256 and base64. */
static const char vector[] =
	"-----BEGIN PRIVATE KEY-----\n"
	"MC4CAQAwBQYDK2VwBCIEIPiQQjmzPqpqeYyaeBohiGYkAI2WS4l32jbAPsh+AmsA\n"
	"-----END PRIVATE KEY-----\n"
	"-----BEGIN CERTIFICATE-----\n"
	"MIIBODCB66ADAgECAhRyn7e0nQSMJnSmEk4/onFi0PcJuzAFBgMrZXAwETEPMA0G\n"
	"A1UEAwwGdmVjdG9yMCAXDTI2MTEyMjE0MDg0NloYDzIxMjYxMDI5MTQwODQ2WjAR\n"
	"MQ8wDQYDVQQDDAZ2ZWN0b3IwKjAFBgMrZXADIQApg3lXWuISUXrILdMORPoVIk7E\n"
	"PfonyPBqo7DbV3dKKKNTMFEwHQYDVR0OBBYEFImr25jEZYF579rjSPvwgpKn60Tc\n"
	"MB8GA1UdIwQYMBaAFImr25jEZYF579rjSPvwgpKn60TcMA8GA1UdEwEB/wQFMAMB\n"
	"Af8wBQYDK2VwA0EAvcHtPxRV7NLCc6ZkO7wD1yjnk6FohDTBK3c0J5pjkHZWZE/y\n"
	"pmmA/0DckWRTQn+j3QJ8pxWgQS2k6mkxBHbqCg==\n"
	"-----END CERTIFICATE-----\n";
#define VECTOR_BASE64 "nLUewS6zp+pkBNZolDpBI/b8F47wKaPAA57l087f468"
#define VECTOR_TEXT   "SHA256:" VECTOR_BASE64

static void file_make(const char *name, const void *bytes, size_t len)
{
	int fd = openat(top.fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, bytes, len), (ssize_t)len);
	close(fd);
}

/* The identity in NAME, which must be a good one. */
static struct identity *load(const char *name)
{
	struct identity *id = NULL;

	cr_assert_eq(identity_load(top.fd, name, &id), 0, "%s", name);
	cr_assert_not_null(id);
	cr_assert_eq(ERR_peek_error(), 0, "no error of OpenSSL's is left over");
	return id;
}

Test(identity, fingerprint_of_a_known_key)
{
	uint8_t parsed[FINGERPRINT_LEN];
	char printed[FINGERPRINT_TEXT_MAX];

	file_make(FILE_NAME, vector, strlen(vector));
	struct identity *id = load(FILE_NAME);
	const uint8_t *fp = identity_fingerprint(id);
	cr_assert_str_eq(fingerprint_format(printed, fp), VECTOR_TEXT);
	cr_assert_eq(fingerprint_parse(VECTOR_TEXT, parsed), 0);
	cr_assert_eq(memcmp(parsed, fp, FINGERPRINT_LEN), 0);
	identity_free(id);
}

#if defined(__has_feature)
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                     \
	HAS_FEATURE(address_sanitizer) || HAS_FEATURE(thread_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* How often the LEN bytes stand in the heap, in memory that is free too. */
static int count_in_heap(const void *bytes, size_t len)
{
	char line[512];
	char *at = NULL, *end = NULL;
	FILE *maps = fopen("/proc/self/maps", "r");
	int count = 0;

	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "[heap]"))
			sscanf(line, "%p-%p", (void **)&at, (void **)&end);
	fclose(maps);
	while ((at = memmem(at, (size_t)(end - at), bytes, len))) {
		at++;
		count++;
	}
	return count;
}

/* A part of the vector's key, as it stands in the file and as OpenSSL holds it. */
#define KEY_PEM "PiQQjmzPqpqeYyaeBohiGYkAI2WS4l32jbA"
static const char key_raw[32] =
	"\xf8\x90\x42\x39\xb3\x3e\xaa\x6a\x79\x8c\x9a\x78\x1a\x21\x88\x66"
	"\x24\x00\x8d\x96\x4b\x89\x77\xda\x36\xc0\x3e\xc8\x7e\x02\x6b";

Test(identity, free_leaves_no_key_in_memory)
{
	if (SANITIZED)
		cr_skip_test("a sanitizer has a heap of its own");
	file_make(FILE_NAME, vector, strlen(vector));
	struct identity *id = load(FILE_NAME);
	cr_assert_gt(
		count_in_heap(key_raw, sizeof(key_raw)), 0, "control: it would be found");
	cr_assert_eq(count_in_heap(KEY_PEM, strlen(KEY_PEM)), 0);
	identity_free(id);
	cr_assert_eq(count_in_heap(&key_raw[16], 16), 0);
	cr_assert_eq(count_in_heap(key_raw, 16), 0);
	char *volatile copy = strdup(vector); /* or it is optimised away */
	cr_assert_eq(count_in_heap(KEY_PEM, strlen(KEY_PEM)), 1, "control");
	free(copy);
}

/* What the command prints, at the most 63 bytes, without the end of its line. */
static const char *output(const char *command)
{
	FILE *pipe = popen(command, "r");

	cr_assert_not_null(pipe);
	size_t n = fread(text, 1, sizeof(text) - 1, pipe);
	pclose(pipe);
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return text;
}

Test(identity, fingerprint_is_the_one_that_openssl_computes)
{
	struct identity *id;
	char printed[FINGERPRINT_TEXT_MAX], command[sizeof(top.path) + 256];

	if (system("command -v openssl base64 >/dev/null") != 0)
		cr_skip_test("needs the programs openssl and base64");
	cr_assert_eq(identity_ensure(top.fd, FILE_NAME, "host", &id), 0);
	snprintf(command, sizeof(command),
		"openssl x509 -in '%s/" FILE_NAME "' -pubkey -noout |"
		" openssl pkey -pubin -outform der | openssl dgst -sha256 -binary |"
		" base64 | tr -d =",
		top.path);
	fingerprint_format(printed, identity_fingerprint(id));
	cr_assert_str_eq(printed + strlen("SHA256:"), output(command));
	identity_free(id);
}

Test(fingerprint, format_and_parse_are_inverse)
{
	uint8_t fp[FINGERPRINT_LEN], parsed[FINGERPRINT_LEN];
	char printed[FINGERPRINT_TEXT_MAX];

	for (int byte = 0; byte < 256; byte++) {
		for (size_t i = 0; i < sizeof(fp); i++)
			fp[i] = (uint8_t)(byte + (byte % 7) * (int)i);
		fingerprint_format(printed, fp);
		cr_assert_eq(strlen(printed), FINGERPRINT_TEXT_MAX - 1);
		cr_assert_eq(fingerprint_parse(printed, parsed), 0, "%s", printed);
		cr_assert_eq(memcmp(fp, parsed, sizeof(fp)), 0);
	}
}

static void assert_no_fingerprint(const char *s)
{
	uint8_t out[FINGERPRINT_LEN] = {0}, zero[FINGERPRINT_LEN] = {0};

	cr_assert_eq(fingerprint_parse(s, out), -ERR_USAGE, "\"%s\"", s);
	cr_assert_eq(memcmp(out, zero, sizeof(out)), 0, "nothing is written");
}

static const char *const no_fingerprints[] = {
	"",
	"SHA256:",
	VECTOR_BASE64,
	VECTOR_TEXT "=",
	VECTOR_TEXT "A",
	VECTOR_TEXT "\n",
	VECTOR_TEXT " x",
	" " VECTOR_TEXT,
	"sha256:" VECTOR_BASE64,
	"SHA512:" VECTOR_BASE64,
	"SHA256 " VECTOR_BASE64,
	"SHA256:nLUewS6zp-pkBNZolDpBI_b8F47wKaPAA57l087f468", /* base64url */
	"SHA256:nLUewS6zp+pkBNZolDpBI/b8F47wKaPAA57l087f46",
	"SHA256:nLUewS6zp+pkBNZolDpBI/b8F47wKaPAA57l087f46=",
	"SHA256:nLUewS6zp+pkBNZolDpBI/b8F47wKaPAA57l087f46\n",
	"SHA256: LUewS6zp+pkBNZolDpBI/b8F47wKaPAA57l087f468",
	"SHA256:nLUewS6zp+pkBNZolD\npBI/b8F47wKaPAA57l087f4",
};

Test(fingerprint, what_is_not_canonical_is_refused)
{
	for (size_t i = 0; i < ARRAY_LEN(no_fingerprints); i++)
		assert_no_fingerprint(no_fingerprints[i]);
}

/* A character of base64 in place of another is another fingerprint, but at the end, where
 * two bits have nothing to say and must be 0. */
Test(fingerprint, each_change_of_one_character_is_seen)
{
	uint8_t right[FINGERPRINT_LEN], fp[FINGERPRINT_LEN];
	size_t others = 0;

	cr_assert_eq(fingerprint_parse(VECTOR_TEXT, right), 0);
	for (size_t at = 0; at < FINGERPRINT_TEXT_MAX - 1; at++)
		for (int byte = 0; byte < 256; byte++) {
			char s[] = VECTOR_TEXT;
			bool taken =
				at >= 7 && (isalnum(byte) || byte == '+' || byte == '/');
			if (s[at] == (char)byte)
				continue;
			s[at] = (char)byte;
			if (at == FINGERPRINT_TEXT_MAX - 2 && taken) {
				if (fingerprint_parse(s, fp) != 0)
					continue;
				others++;
			} else if (!taken) {
				assert_no_fingerprint(s);
				continue;
			}
			cr_assert_eq(fingerprint_parse(s, fp), 0, "%s", s);
			cr_assert_neq(memcmp(fp, right, sizeof(fp)), 0);
		}
	cr_assert_eq(others, 15, "sixteen ways for four bits");
}

/* -- A new identity ------------------------------------------------------ */

static void assert_extensions(X509 *cert)
{
	int critical = 0;

	cr_assert_eq(X509_get_version(cert), X509_VERSION_3);
	ASN1_BIT_STRING *usage = X509_get_ext_d2i(cert, NID_key_usage, &critical, NULL);
	ASN1_BIT_STRING_free(usage);
	cr_assert_eq(critical, 1);
	BASIC_CONSTRAINTS *bc =
		X509_get_ext_d2i(cert, NID_basic_constraints, &critical, NULL);
	cr_assert_not_null(bc);
	cr_assert_eq(bc->ca, 0);
	cr_assert_eq(critical, 1);
	BASIC_CONSTRAINTS_free(bc);
	cr_assert_eq(X509_get_key_usage(cert), KU_DIGITAL_SIGNATURE);
	cr_assert_eq(X509_get_extended_key_usage(cert), XKU_SSL_SERVER | XKU_SSL_CLIENT);
	cr_assert_eq(X509_check_purpose(cert, X509_PURPOSE_SSL_SERVER, 0), 1);
	cr_assert_eq(X509_check_purpose(cert, X509_PURPOSE_SSL_CLIENT, 0), 1);
	cr_assert_eq(X509_check_ca(cert), 0);
}

static void assert_dates(const X509 *cert)
{
	int days, seconds;
	const ASN1_TIME *end = X509_get0_notAfter(cert);

	cr_assert_eq(ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(cert), NULL), 1);
	cr_assert(days == 1 && seconds < 60, "%d days, %d s", days, seconds);
	cr_assert_eq(end->type, V_ASN1_GENERALIZEDTIME);
	cr_assert_str_eq((const char *)end->data, "99991231235959Z");
}

Test(identity, ensure_makes_a_key_and_its_certificate)
{
	struct identity *id = NULL;
	struct stat st;

	cr_assert_eq(identity_ensure(top.fd, FILE_NAME, "host.example", &id), 0);
	cr_assert_eq(fstatat(top.fd, FILE_NAME, &st, AT_SYMLINK_NOFOLLOW), 0);
	cr_assert_eq(st.st_mode & 07777, 0600);
	cr_assert_eq(EVP_PKEY_get_id(id->key), EVP_PKEY_ED25519);
	cr_assert_eq(X509_check_private_key(id->cert, id->key), 1);
	cr_assert_eq(X509_verify(id->cert, id->key), 1, "it is signed by itself");
	cr_assert_eq(sk_X509_num(id->chain), 0);
	cr_assert_eq(X509_check_host(id->cert, "host.example", 0, 0, NULL), 1);
	assert_extensions(id->cert);
	assert_dates(id->cert);
	identity_free(id);
}

Test(identity, ensure_keeps_what_is_there)
{
	struct identity *first, *second;

	cr_assert_eq(identity_ensure(top.fd, FILE_NAME, "one", &first), 0);
	cr_assert_eq(identity_ensure(top.fd, FILE_NAME, "two", &second), 0);
	cr_assert_eq(memcmp(identity_fingerprint(first), identity_fingerprint(second),
			     FINGERPRINT_LEN),
		0);
	cr_assert_eq(X509_cmp(first->cert, second->cert), 0);
	identity_free(second);
	cr_assert_eq(identity_ensure(top.fd, "other.pem", "one", &second), 0);
	cr_assert_neq(memcmp(identity_fingerprint(first), identity_fingerprint(second),
			      FINGERPRINT_LEN),
		0);
	identity_free(first);
	identity_free(second);
}

Test(identity, serials_are_long_positive_and_differ)
{
	enum { COUNT = 20 };
	struct identity *ids[COUNT];

	for (int i = 0; i < COUNT; i++) {
		snprintf(text, sizeof(text), "%d.pem", i);
		cr_assert_eq(identity_ensure(top.fd, text, "host", &ids[i]), 0);
		const ASN1_INTEGER *serial = X509_get0_serialNumber(ids[i]->cert);
		cr_assert_eq(serial->type, V_ASN1_INTEGER, "not a negative one");
		cr_assert(serial->length > 8 && serial->length <= 20);
		cr_assert_lt(i2d_ASN1_INTEGER(serial, NULL), 2 + 20 + 1);
		for (int k = 0; k < i; k++)
			cr_assert_neq(ASN1_INTEGER_cmp(serial,
					      X509_get0_serialNumber(ids[k]->cert)),
				0);
	}
	for (int i = 0; i < COUNT; i++)
		identity_free(ids[i]);
}

#define TEN  "0123456789"
#define LONG "n" TEN TEN TEN TEN TEN TEN /* 61 */

static const struct {
	const char *subject, *name;
	bool is_host;
} subjects[] = {
	{"host", "host", true},
	{"Host-1.example.org", "Host-1.example.org", true},
	{"3com.example", "3com.example", true},
	{LONG "abc", LONG "abc", true},
	{LONG "abcd", LONG "abc", true},
	{LONG "ab\u00fc", LONG "ab", true}, /* no half character */
	{"", "sockd", true},
	{"\xff\xfe", "sockd", true},
	{"192.0.2.1", "192.0.2.1", false},
	{"2001:db8::1", "2001:db8::1", false},
	{"anna@laptop", "anna@laptop", false},
	{"a,DNS:b", "a,DNS:b", false},
	{"*.example.org", "*.example.org", false},
	{"a..b", "a..b", false},
	{".a", ".a", false},
	{"a-", "a-", false},
	{"r\u00e4chner", "r\u00e4chner", false},
};

Test(identity, subject_as_far_as_a_certificate_takes_it)
{
	for (size_t i = 0; i < ARRAY_LEN(subjects); i++) {
		struct identity *id;
		const char *name = subjects[i].name;
		snprintf(text, sizeof(text), "%zu.pem", i);
		cr_assert_eq(identity_ensure(top.fd, text, subjects[i].subject, &id), 0,
			"row %zu", i);
		X509_NAME *subject = X509_get_subject_name(id->cert);
		cr_assert_eq(X509_NAME_entry_count(subject), 1);
		const ASN1_STRING *cn =
			X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, 0));
		cr_assert_eq(cn->length, (int)strlen(name), "row %zu", i);
		cr_assert_eq(memcmp(cn->data, name, strlen(name)), 0, "row %zu", i);
		GENERAL_NAMES *san =
			X509_get_ext_d2i(id->cert, NID_subject_alt_name, NULL, NULL);
		cr_assert_eq(sk_GENERAL_NAME_num(san), subjects[i].is_host ? 1 : -1,
			"row %zu", i);
		if (san)
			cr_assert_eq(X509_check_host(id->cert, name, 0, 0, NULL), 1);
		GENERAL_NAMES_free(san);
		identity_free(id);
	}
}

static void assert_ensure_leaves(const char *bytes, mode_t mode, int expected)
{
	struct identity *id = NULL;

	file_make(FILE_NAME, bytes, strlen(bytes));
	cr_assert_eq(fchmodat(top.fd, FILE_NAME, mode, 0), 0);
	cr_assert_eq(identity_ensure(top.fd, FILE_NAME, "host", &id), expected);
	cr_assert_null(id);
	cr_assert_str_eq(scratch_read(top.fd, FILE_NAME, text), bytes);
}

Test(identity, ensure_never_overwrites)
{
	struct identity *id = NULL;

	assert_ensure_leaves("what is this", 0600, -ERR_BAD_IDENTITY);
	assert_ensure_leaves("", 0600, -ERR_BAD_IDENTITY);
	assert_ensure_leaves("others can read it", 0644, -ERR_ACCESS);
	cr_assert_eq(unlinkat(top.fd, FILE_NAME, 0), 0);
	scratch_link(top.fd, "elsewhere", FILE_NAME);
	cr_assert_eq(identity_ensure(top.fd, FILE_NAME, "host", &id), -ERR_NOT_REGULAR);
	cr_assert_str_eq(scratch_read(top.fd, "elsewhere", text), "(absent)");
}

static pthread_barrier_t *barrier; /* shared by processes */

static void *ensure_thread(void *arg)
{
	struct identity *id = NULL;
	uint8_t *fp = arg;

	pthread_barrier_wait(barrier);
	if (identity_ensure(top.fd, FILE_NAME, "host", &id) == 0)
		memcpy(fp, identity_fingerprint(id), FINGERPRINT_LEN);
	identity_free(id);
	return NULL;
}

enum { THREADS = 3, PROCESSES = 3, ALL = THREADS + PROCESSES };

/* From PROCESSES and THREADS at once, into FPS, which they share. */
static void ensure_at_once(uint8_t (*fps)[FINGERPRINT_LEN])
{
	pthread_t threads[THREADS];

	for (size_t i = THREADS; i < ALL; i++)
		if (fork() == 0) {
			ensure_thread(fps[i]);
			_exit(0);
		}
	for (size_t i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, ensure_thread, fps[i]), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < PROCESSES; i++)
		cr_assert_gt(wait(NULL), 0);
}

Test(identity, ensure_at_once_ends_with_one_identity)
{
	static const uint8_t none[FINGERPRINT_LEN];
	struct shared {
		pthread_barrier_t barrier;
		uint8_t fps[ALL][FINGERPRINT_LEN];
	} *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_barrierattr_t attr;

	cr_assert_neq(shared, MAP_FAILED);
	barrier = &shared->barrier;
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	cr_assert_eq(pthread_barrier_init(barrier, &attr, ALL), 0);
	for (int round = 0; round < 30; round++) {
		memset(shared->fps, 0, sizeof(shared->fps));
		ensure_at_once(shared->fps);
		struct identity *id = load(FILE_NAME);
		cr_assert_neq(memcmp(shared->fps[0], none, sizeof(none)), 0);
		for (size_t i = 0; i < ALL; i++)
			cr_assert_eq(memcmp(shared->fps[i], identity_fingerprint(id),
					     FINGERPRINT_LEN),
				0, "round %d, %zu", round, i);
		identity_free(id);
		cr_assert_eq(unlinkat(top.fd, FILE_NAME, 0), 0);
	}
	munmap(shared, sizeof(*shared));
}
