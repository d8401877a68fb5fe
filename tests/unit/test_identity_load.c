/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files of keys and certificates, as other programs and authorities make them. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/wait.h>

#include "base/err.h"
#include "crypto/identity_impl.h"
#include "scratch.h"

#define FILE_NAME "identity.pem"
#define PASSWORD  "password"

struct party {
	EVP_PKEY *key;
	X509 *cert;
};

static struct scratch top;
static struct party leaf, above, authority, stranger;

static EVP_PKEY *key_make(int type)
{
	EVP_PKEY *key = type == EVP_PKEY_RSA  ? EVP_RSA_gen(2048)
			: type == EVP_PKEY_EC ? EVP_EC_gen("P-256")
					      : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

	cr_assert_not_null(key);
	return key;
}

static struct party party_make(int type, const char *name, const struct party *issuer)
{
	struct party p = {.key = key_make(type), .cert = X509_new()};
	X509_NAME *subject = X509_get_subject_name(p.cert);

	X509_NAME_add_entry_by_txt(
		subject, "CN", MBSTRING_ASC, (const uint8_t *)name, -1, -1, 0);
	X509_set_issuer_name(
		p.cert, issuer ? X509_get_subject_name(issuer->cert) : subject);
	X509_gmtime_adj(X509_getm_notBefore(p.cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(p.cert), 3600);
	X509_set_pubkey(p.cert, p.key);
	const EVP_PKEY *signer = issuer ? issuer->key : p.key;
	cr_assert_gt(X509_sign(p.cert, issuer ? issuer->key : p.key,
			     EVP_PKEY_get_id(signer) == EVP_PKEY_ED25519 ? NULL
									 : EVP_sha256()),
		0);
	return p;
}

static void party_free(struct party *p)
{
	X509_free(p->cert);
	EVP_PKEY_free(p->key);
}

static void parties_make(int type)
{
	authority = party_make(EVP_PKEY_EC, "authority", NULL);
	above = party_make(EVP_PKEY_RSA, "above", &authority);
	leaf = party_make(type, "leaf", &above);
	stranger = party_make(type, "stranger", &above);
}

static void parties_free(void)
{
	party_free(&authority);
	party_free(&above);
	party_free(&leaf);
	party_free(&stranger);
}

static void setup(void)
{
	scratch_init(&top);
}

static void teardown(void)
{
	scratch_fini(&top);
}

TestSuite(identity_load, .init = setup, .fini = teardown, .timeout = 120);

/* -- Files made of blocks ------------------------------------------------ */

static void der_put(BIO *out, const char *label, int more, X509 *cert)
{
	uint8_t *der = NULL;
	int len = i2d_X509(cert, &der);

	der = OPENSSL_realloc(der, (size_t)len + 8);
	memset(der + len, 0, 8);
	PEM_write_bio(out, label, "", der, len + more);
	OPENSSL_free(der);
}

/* The key, and a byte behind it. */
static void longer_key_put(BIO *out)
{
	uint8_t *der = NULL;
	int len = i2d_PrivateKey(leaf.key, &der);

	der = OPENSSL_realloc(der, (size_t)len + 1);
	der[len] = 0;
	PEM_write_bio(out, "PRIVATE KEY", "", der, len + 1);
	OPENSSL_free(der);
}

static void encrypted_put(BIO *out, const char *label)
{
	uint8_t der[8192], *end = der;
	X509_SIG *sig = NULL;
	BIO *pem = BIO_new(BIO_s_mem());

	PEM_write_bio_PKCS8PrivateKey(
		pem, leaf.key, EVP_aes_256_cbc(), PASSWORD, 8, NULL, NULL);
	sig = PEM_read_bio_PKCS8(pem, NULL, NULL, NULL);
	cr_assert_not_null(sig);
	cr_assert_lt(i2d_X509_SIG(sig, NULL), (int)sizeof(der));
	int len = i2d_X509_SIG(sig, &end);
	PEM_write_bio(out, label, "", der, len);
	X509_SIG_free(sig);
	BIO_free(pem);
}

static void block_put(BIO *out, char block)
{
	switch (block) {
	case 'K': /* PKCS #8 */
		PEM_write_bio_PKCS8PrivateKey(out, leaf.key, NULL, NULL, 0, NULL, NULL);
		break;
	case 'T': /* "RSA PRIVATE KEY", "EC PRIVATE KEY" */
		PEM_write_bio_PrivateKey_traditional(
			out, leaf.key, NULL, NULL, 0, NULL, NULL);
		break;
	case 'S':
		PEM_write_bio_PKCS8PrivateKey(
			out, stranger.key, NULL, NULL, 0, NULL, NULL);
		break;
	case 'E':
		encrypted_put(out, "ENCRYPTED PRIVATE KEY");
		break;
	case 'L': /* encrypted, and denied */
		encrypted_put(out, "PRIVATE KEY");
		break;
	case 'e': /* "Proc-Type: 4,ENCRYPTED" */
		PEM_write_bio_PrivateKey_traditional(out, leaf.key, EVP_aes_256_cbc(),
			(const uint8_t *)PASSWORD, 8, NULL, NULL);
		break;
	case 'P':
		PEM_write_bio_PUBKEY(out, leaf.key);
		break;
	case 'c':
		PEM_write_bio_X509(out, leaf.cert);
		break;
	case 'a':
		PEM_write_bio_X509(out, above.cert);
		break;
	case 'A':
		PEM_write_bio_X509(out, authority.cert);
		break;
	case 's':
		PEM_write_bio_X509(out, stranger.cert);
		break;
	case 'l': /* longer and shorter than what is in it */
		der_put(out, "CERTIFICATE", 1, leaf.cert);
		break;
	case 'h':
		der_put(out, "CERTIFICATE", -1, leaf.cert);
		break;
	case 'x':
		longer_key_put(out);
		break;
	case 'k':
		der_put(out, "PRIVATE KEY", 0, leaf.cert);
		break;
	case 'o':
		der_put(out, "OPENSSH PRIVATE KEY", 0, leaf.cert);
		break;
	case 'p':
		der_put(out, "EC PARAMETERS", 0, leaf.cert);
		break;
	case 't':
		X509_print(out, leaf.cert);
		break;
	case '0':
		BIO_write(out, "\0\n", 2);
		break;
	default:
		cr_assert_fail("block %c", block);
	}
}

static void file_put(const void *bytes, size_t len)
{
	int fd = openat(top.fd, FILE_NAME, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, bytes, len), (ssize_t)len);
	close(fd);
}

static void file_make(const char *blocks)
{
	BIO *out = BIO_new(BIO_s_mem());
	char *bytes;

	for (; *blocks; blocks++)
		block_put(out, *blocks);
	long len = BIO_get_mem_data(out, &bytes);
	file_put(bytes, (size_t)len);
	BIO_free(out);
}

static void assert_leaf(const char *what, int in_chain)
{
	struct identity *id = NULL;
	uint8_t fp[FINGERPRINT_LEN];

	cr_assert_eq(identity_load(top.fd, FILE_NAME, &id), 0, "%s", what);
	cr_assert_eq(X509_cmp(id->cert, leaf.cert), 0, "%s", what);
	cr_assert_eq(EVP_PKEY_eq(id->key, leaf.key), 1, "%s", what);
	cr_assert_eq(sk_X509_num(id->chain), in_chain, "%s", what);
	for (int i = 0; i < in_chain; i++)
		cr_assert_neq(X509_cmp(sk_X509_value(id->chain, i), leaf.cert), 0);
	cr_assert_eq(fingerprint_of(leaf.cert, fp), 0);
	cr_assert_eq(memcmp(fp, identity_fingerprint(id), sizeof(fp)), 0);
	cr_assert_eq(ERR_peek_error(), 0, "%s: an error is left over", what);
	identity_free(id);
}

static void assert_bad(const char *what)
{
	struct identity *id = NULL;

	cr_assert_eq(
		identity_load(top.fd, FILE_NAME, &id), -ERR_BAD_IDENTITY, "%s", what);
	cr_assert_null(id);
	cr_assert_eq(ERR_peek_error(), 0, "%s: an error is left over", what);
}

static const struct {
	const char *blocks;
	int in_chain;
} good[] = {
	{"Kc", 0},
	{"cK", 0},
	{"Kca", 1},
	{"Kac", 1},
	{"caK", 1},
	{"aKc", 1},
	{"aAcK", 2},
	{"KAac", 2},
	{"cKaA", 2},
	{"Kcs", 1},
	{"PKc", 0},
	{"pKc", 0},
	{"tKtct", 0},
	{"0Kc", 0},
};

static const int types[] = {EVP_PKEY_ED25519, EVP_PKEY_RSA, EVP_PKEY_EC};

Test(identity_load, takes_any_order_and_any_type)
{
	for (size_t t = 0; t < ARRAY_LEN(types); t++) {
		parties_make(types[t]);
		for (size_t i = 0; i < ARRAY_LEN(good); i++) {
			file_make(good[i].blocks);
			assert_leaf(good[i].blocks, good[i].in_chain);
		}
		if (types[t] != EVP_PKEY_ED25519) {
			file_make("Tca");
			assert_leaf("Tca", 1);
		}
		parties_free();
	}
}

static const char *const bad[] = {
	"",
	"t",
	"K",
	"c",
	"P",
	"Pc",
	"Ks",
	"Sc",
	"KKc",
	"KcK",
	"KSc",
	"Kcl",
	"Kch",
	"lK",
	"kc",
	"oc",
	"Koc",
	"Kkc",
	"Ec",
	"cE",
	"KEc",
	"Lc",
	"aAK",
	"xc",
};

Test(identity_load, refuses_what_is_no_identity)
{
	for (size_t t = 0; t < ARRAY_LEN(types); t++) {
		parties_make(types[t]);
		for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
			file_make(bad[i]);
			assert_bad(bad[i]);
		}
		if (types[t] != EVP_PKEY_ED25519) {
			file_make("ec");
			assert_bad("ec");
		}
		parties_free();
	}
}

/* The bytes of the file "Kca" in memory. */
static char *bytes_of_good(size_t *len_out)
{
	static char bytes[16384];

	file_make("Kca");
	int fd = openat(top.fd, FILE_NAME, O_RDONLY);
	ssize_t n = read(fd, bytes, sizeof(bytes) - 1);
	cr_assert(n > 0 && (size_t)n < sizeof(bytes) - 1);
	close(fd);
	*len_out = (size_t)n;
	return bytes;
}

/* Up to the last END line but one the certificate is not there, behind it the chain is
 * not whole: no beginning of the file is an identity but the one without a chain. */
Test(identity_load, refuses_what_was_cut_short)
{
	static const char begin[] = "-----BEGIN", end[] = "-----END CERTIFICATE-----";
	size_t len;

	parties_make(EVP_PKEY_ED25519);
	char *bytes = bytes_of_good(&len);
	bytes[len] = '\0';
	size_t first = (size_t)(strstr(bytes, end) - bytes) + strlen(end);
	for (size_t cut = 0; cut + 2 < len; cut++) {
		file_put(bytes, cut);
		if (cut < first || cut > first + strlen(begin) + 20)
			assert_bad("cut short");
	}
	file_put(bytes, first + 1);
	assert_leaf("without chain", 0);
	parties_free();
}

/* Or it is another's, or the same: no change of one byte is a crash or another key. */
Test(identity_load, refuses_a_changed_key)
{
	size_t len;
	struct identity *id = NULL;

	parties_make(EVP_PKEY_ED25519);
	char *bytes = bytes_of_good(&len);
	for (size_t at = 0; at < len; at++) {
		bytes[at] ^= 1;
		file_put(bytes, len);
		int r = identity_load(top.fd, FILE_NAME, &id);
		cr_assert(r == 0 || r == -ERR_BAD_IDENTITY, "byte %zu: %d", at, r);
		if (r == 0)
			cr_assert_eq(EVP_PKEY_eq(id->key, leaf.key), 1, "byte %zu", at);
		if (r == 0)
			identity_free(id);
		bytes[at] ^= 1;
	}
	parties_free();
}

Test(identity_load, takes_lines_that_end_as_on_windows)
{
	static char out[32768];
	size_t len, n = 0;

	parties_make(EVP_PKEY_ED25519);
	const char *bytes = bytes_of_good(&len);
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] == '\n')
			out[n++] = '\r';
		out[n++] = bytes[i];
	}
	file_put(out, n);
	assert_leaf("CR LF", 1);
	parties_free();
}

Test(identity_load, says_why_there_is_none)
{
	struct identity *id = NULL;
	char path[sizeof(top.path) + 32];

	parties_make(EVP_PKEY_ED25519);
	cr_assert_eq(identity_load(top.fd, FILE_NAME, &id), -ERR_NOT_FOUND);
	file_make("Kc");
	cr_assert_eq(fchmodat(top.fd, FILE_NAME, 0644, 0), 0);
	cr_assert_eq(identity_load(top.fd, FILE_NAME, &id), -ERR_ACCESS);
	cr_assert_eq(fchmodat(top.fd, FILE_NAME, 0600, 0), 0);
	scratch_link(top.fd, FILE_NAME, "link");
	cr_assert_eq(identity_load(top.fd, "link", &id), -ERR_NOT_REGULAR);
	cr_assert_null(id);
	snprintf(path, sizeof(path), "%s/link", top.path);
	cr_assert_eq(identity_load(AT_FDCWD, path, &id), 0, "a path may be a link");
	identity_free(id);
	identity_free(NULL);
	parties_free();
}

/* On a terminal of its own a process loads the file; what it writes there, and whether
 * it waits for an answer, is seen. */
static void assert_asks_nobody(const char *blocks)
{
	int status, terminal = posix_openpt(O_RDWR | O_NOCTTY);
	char said[256];

	file_make(blocks);
	cr_assert(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
	pid_t pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		struct identity *id;
		setsid();
		if (open(ptsname(terminal), O_RDWR) < 0) /* the first is /dev/tty */
			_exit(2);
		_exit(identity_load(top.fd, FILE_NAME, &id) == -ERR_BAD_IDENTITY ? 0 : 1);
	}
	struct pollfd p = {.fd = terminal, .events = POLLIN};
	cr_assert_eq(poll(&p, 1, 60000), 1);
	ssize_t n = read(terminal, said, sizeof(said));
	cr_assert_leq(n, 0, "%s: it said %.*s", blocks, (int)n, said);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0, "%s", blocks);
	close(terminal);
}

Test(identity_load, asks_for_no_password)
{
	parties_make(EVP_PKEY_RSA);
	assert_asks_nobody("Ec");
	assert_asks_nobody("ec");
	assert_asks_nobody("Lc");
	parties_free();
}
