/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/trust.h"

#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

#include "base/err.h"
#include "cli/ask.h"
#include "cli/known.h"
#include "prints.h"
#include "scratch.h"

TestSuite(trust, .timeout = 60);

/* -- Decisions ------------------------------------------------------------ */

/* A server h:1 that shows A is judged by a process of its own. */
struct scene {
	/* given */
	const char *known; /* what is in known_hosts; NULL: there is none */
	mode_t mode;       /* of it; 0: 0600 */
	char pin;          /* or 0 */
	bool accept_new;
	bool ca;
	const char *distrust; /* NULL: an authority vouches for it */
	const char *host;     /* NULL: "h" */
	bool terminal;
	const char *typed[6]; /* an answer for each question */
	bool interrupt;       /* instead of an answer */
	bool remember;        /* trust_remember, not trust_check */
	bool read_only;       /* the directory is not ours */
	/* found */
	int err;
	char said[KNOWN_CAP];   /* on stderr */
	char screen[KNOWN_CAP]; /* on the terminal */
	char after[KNOWN_CAP];  /* in known_hosts */
	int questions;
	int status; /* of the report */
};

static void child_run(const struct scene *s, int stop_fd, int result_fd)
{
	struct options opts = {.port = 1,
		.accept_new = s->accept_new,
		.resume = true,
		.has_pin = s->pin,
		.ca = s->ca ? "ca.pem" : NULL};
	struct request req = {.command = COMMAND_PUT};
	struct report *report;
	const char *host = s->host ? s->host : "h";
	int dirfd = trust_directory(), answer[2];

	if (s->pin)
		memset(opts.pin, s->pin, FINGERPRINT_LEN);
	if (dirfd < 0 || report_new(&report, &opts, &req) < 0)
		_exit(99);
	if (s->remember)
		answer[0] = trust_remember(&opts, report, dirfd, host, print_of('A'));
	else
		answer[0] = trust_check(
			&opts, report, dirfd, host, print_of('A'), s->distrust, stop_fd);
	opts.quiet = true; /* no last line */
	answer[1] = report_finish(report);
	report_free(report);
	close(dirfd);
	fflush(NULL);
	_exit(write(result_fd, answer, sizeof(answer)) == sizeof(answer) ? 0 : 98);
}

/* Forks a process whose controlling terminal is SLAVE, if there is one (-1).  MASTER,
 * its other side, is held by us alone: when we let go of it, that is a hang-up. */
static pid_t child_start(const struct scene *s, int master, int slave, int stop_fd,
	int result_fd, int stderr_fd)
{
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid > 0)
		return pid;
	close(master);
	if (setsid() < 0 || (slave >= 0 && ioctl(slave, TIOCSCTTY, 0) < 0) ||
		dup2(stderr_fd, STDERR_FILENO) < 0)
		_exit(97);
	child_run(s, stop_fd, result_fd);
	_exit(96);
}

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), n = strlen(end);

	return len >= n && strcmp(text + len - n, end) == 0;
}

/* Plays the user until the result is there. */
static void user_play(struct scene *s, int master, int stop_fd, int result_fd)
{
	size_t len = 0;
	struct pollfd fds[] = {
		{.fd = result_fd, .events = POLLIN}, {.fd = master, .events = POLLIN}};

	for (bool over = false; !over || fds[1].revents & POLLIN;) {
		cr_assert_gt(poll(fds, 2, over ? 0 : 20000), 0 - over, "it hangs: %s",
			s->screen);
		over = over || fds[0].revents != 0;
		if (fds[1].revents & POLLIN) {
			ssize_t n = read(
				master, s->screen + len, sizeof(s->screen) - 1 - len);
			len += n > 0 ? (size_t)n : 0;
			s->screen[len] = '\0';
		}
		if (over ||
			!(ends_with(s->screen, "? ") || ends_with(s->screen, "one: ")))
			continue;
		if (s->questions < 6 && s->typed[s->questions]) {
			const char *typed = s->typed[s->questions];
			cr_assert_eq(write(master, typed, strlen(typed)),
				(ssize_t)strlen(typed));
			strcat(s->screen, "|");
			len++;
		} else if (s->interrupt) {
			cr_assert_eq(write(stop_fd, "x", 1), 1);
		} else {
			break; /* nobody is there any more: the caller hangs up */
		}
		s->questions++;
	}
}

static void scene_play(struct scene *s)
{
	int master = -1, slave = -1, stop[2], result[2], found[2] = {-999, -999}, status;
	struct scratch dir;
	char said[4200];

	scratch_init(&dir);
	cr_assert_eq(setenv("XDG_CONFIG_HOME", dir.path, 1), 0);
	scratch_mkdir(dir.fd, "sockd");
	int sub = openat(dir.fd, "sockd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->known) {
		scratch_file(sub, KNOWN_FILE, s->known);
		cr_assert_eq(fchmodat(sub, KNOWN_FILE, s->mode ? s->mode : 0600, 0), 0);
	}
	/* For root, too, a directory in the way of the lock is in the way. */
	if (s->read_only)
		scratch_mkdir(sub, "lock");
	snprintf(said, sizeof(said), "%s/said", dir.path);
	int stderr_fd = open(said, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_assert(pipe(stop) == 0 && pipe(result) == 0 && stderr_fd >= 0);
	if (s->terminal)
		cr_assert_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
	pid_t pid = child_start(s, master, slave, stop[0], result[1], stderr_fd);
	close(slave);
	close(result[1]);
	user_play(s, master, stop[1], result[0]);
	close(master);
	cr_assert_eq(read(result[0], found, sizeof(found)), (ssize_t)sizeof(found));
	s->err = found[0];
	s->status = found[1];
	/* The end of its terminal may have ended it, once it had answered. */
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	ssize_t n = pread(stderr_fd, s->said, sizeof(s->said) - 1, 0);
	s->said[n > 0 ? n : 0] = '\0';
	file_read(sub, s->after);
	close(stderr_fd);
	close(stop[0]);
	close(stop[1]);
	close(result[0]);
	close(sub);
	scratch_fini(&dir);
}

/* DID: 0, or the error; and whether known_hosts then has an A that it had not. */
static void scene_expect(struct scene *s, const char *what, int did, bool added)
{
	const char *known = s->known ? s->known : "";
	char after[KNOWN_CAP];

	scene_play(s);
	snprintf(after, sizeof(after), "%s%s", known, added ? "h:1 " A "\n" : "");
	cr_expect_eq(s->err, did, "%s: %d\n%s%s", what, s->err, s->screen, s->said);
	cr_expect_str_eq(s->after, after, "%s:\n%s", what, s->after);
	if (did == -ERR_UNTRUSTED) {
		cr_expect_eq(s->status, 4, "%s: %d", what, s->status);
		cr_expect_eq(
			strncmp(s->said, "sockcp: the ", 12), 0, "%s: %s", what, s->said);
		cr_expect(strchr(s->said, '\n') == s->said + strlen(s->said) - 1,
			"%s: not one line: %s", what, s->said);
	} else {
		cr_expect_eq(s->status, 0, "%s: %d", what, s->status);
	}
}

#define UNKNOWN "self-signed certificate"
#define NO      (-ERR_UNTRUSTED)

/* Everything that can be said of a server before it comes to a question. */
Test(trust, table)
{
	static const struct {
		const char *known;
		char pin;
		bool accept_new, ca;
		const char *distrust;
		int did;
		bool added;
	} rows[] = {
		/* known: neither an authority nor a question is needed */
		{"h:1 " A "\n", 0, false, false, UNKNOWN, 0, false},
		{"h:1 " A "\n", 0, false, false, NULL, 0, false},
		{"h:1 " A "\n", 'A', false, false, UNKNOWN, 0, false},
		{"h:1 " A "\n", 0, true, false, UNKNOWN, 0, false},
		{"h:1 " A "\n", 0, false, true, NULL, 0, false},
		/* but what the options ask for must hold, too */
		{"h:1 " A "\n", 'B', false, false, UNKNOWN, NO, false},
		{"h:1 " A "\n", 0, false, true, UNKNOWN, NO, false},
		/* changed: whatever the options say */
		{"h:1 " B "\n", 0, false, false, UNKNOWN, NO, false},
		{"h:1 " B "\n", 0, false, false, NULL, NO, false},
		{"h:1 " B "\n", 'A', false, false, UNKNOWN, NO, false},
		{"h:1 " B "\n", 0, true, false, UNKNOWN, NO, false},
		{"h:1 " B "\n", 0, false, true, NULL, NO, false},
		{"h:1 " B "\n", 'A', true, true, NULL, NO, false},
		/* not known: a pin */
		{NULL, 'A', false, false, UNKNOWN, 0, false},
		{NULL, 'A', true, false, UNKNOWN, 0, false},
		{NULL, 'B', false, false, UNKNOWN, NO, false},
		{NULL, 'B', true, false, UNKNOWN, NO, false},
		{NULL, 'B', false, false, NULL, NO, false},
		{NULL, 'B', false, true, NULL, NO, false},
		/* an authority */
		{NULL, 0, false, true, NULL, 0, false},
		{NULL, 0, false, true, UNKNOWN, NO, false},
		{NULL, 0, true, true, UNKNOWN, NO, false},
		{NULL, 'A', false, true, UNKNOWN, NO, false},
		{NULL, 0, false, false, NULL, 0, false},
		{NULL, 0, true, false, NULL, 0, false},
		/* nobody */
		{NULL, 0, true, false, UNKNOWN, 0, true},
		{"h:2 " A "\n", 0, true, false, UNKNOWN, 0, true},
		{NULL, 0, false, false, UNKNOWN, NO, false},
		{"h:2 " A "\n", 0, false, false, UNKNOWN, NO, false},
		{"g:1 " A "\n", 0, false, false, UNKNOWN, NO, false},
		/* a file that makes no sense trusts nobody */
		{"h:1 " A "\nx\n", 0, false, false, UNKNOWN, NO, false},
		{"x\n", 'A', false, false, UNKNOWN, NO, false},
		{"x\n", 0, true, false, UNKNOWN, NO, false},
		{"x\n", 0, false, true, NULL, NO, false},
		{"x\n", 0, false, false, NULL, NO, false},
		{"h:1 " A "\nh:1 " B "\n", 0, false, false, UNKNOWN, NO, false},
	};
	char what[64];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct scene s = {.known = rows[i].known,
			.pin = rows[i].pin,
			.accept_new = rows[i].accept_new,
			.ca = rows[i].ca,
			.distrust = rows[i].distrust};
		snprintf(what, sizeof(what), "row %zu", i);
		scene_expect(&s, what, rows[i].did, rows[i].added);
	}
}

/* The same with a terminal: there is a question only where nobody knows. */
Test(trust, no_question_without_need)
{
	struct scene rows[] = {
		{.known = "h:1 " A "\n", .distrust = UNKNOWN},
		{.known = "h:1 " B "\n", .distrust = UNKNOWN, .err = NO},
		{.pin = 'A', .distrust = UNKNOWN},
		{.pin = 'B', .distrust = UNKNOWN, .err = NO},
		{.ca = true, .distrust = NULL},
		{.ca = true, .distrust = UNKNOWN, .err = NO},
		{.distrust = NULL},
		{.known = "x\n", .distrust = UNKNOWN, .err = NO},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char what[64];
		rows[i].terminal = true;
		rows[i].typed[0] = "yes\n";
		snprintf(what, sizeof(what), "row %zu", i);
		scene_expect(&rows[i], what, rows[i].err, false);
		cr_expect_str_empty(rows[i].screen, "%s: %s", what, rows[i].screen);
	}
}

Test(trust, question)
{
	static const struct {
		const char *typed[6];
		int questions;
		int did;
	} rows[] = {
		{{"yes\n"}, 1, 0},
		{{"YES\n"}, 1, 0},
		{{"  yes \t\n"}, 1, 0},
		{{A "\n"}, 1, 0},
		{{"no\n"}, 1, NO},
		{{"No\n"}, 1, NO},
		/* neither: asked again */
		{{"y\n", "yes\n"}, 2, 0},
		{{"\n", "", "no\n"}, 2, NO},
		{{B "\n", "yes please\n", A "\n"}, 3, 0},
		{{"yes!\n", "\n", "ye s\n", "yes\n"}, 4, 0},
		/* a fingerprint is exactly that */
		{{A "x\n", "sha256:x\n", "SHA256:\n", A "A\n"}, 4, NO},
		/* at most so often */
		{{"a\n", "b\n", "c\n", "d\n", "yes\n"}, 1 + ASK_AGAIN_MAX, NO},
		/* end of file */
		{{"\x04"}, 1, NO},
		{{"what?\n", "\x04"}, 2, NO},
	};
	char what[64];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct scene s = {.distrust = UNKNOWN, .terminal = true};
		memcpy(s.typed, rows[i].typed, sizeof(s.typed));
		if (i == 7) /* a word in two pieces */
			s.typed[1] = "no\n";
		snprintf(what, sizeof(what), "row %zu", i);
		scene_expect(&s, what, rows[i].did, rows[i].did == 0);
		cr_expect_eq(s.questions, rows[i].questions, "%s: %s", what, s.screen);
		cr_expect_not_null(strstr(s.screen, "h:1 is"), "%s", s.screen);
		cr_expect_not_null(strstr(s.screen, A), "%s", s.screen);
		cr_expect_not_null(
			strstr(s.screen, "'sockd fingerprint'"), "%s", s.screen);
	}
}

/* A line that is too long for an answer is none, whatever it begins with. */
Test(trust, long_answer)
{
	struct scene s = {.distrust = UNKNOWN, .terminal = true};
	char line[600];

	snprintf(line, sizeof(line), "yes%*s\n", 500, "x");
	s.typed[0] = line;
	s.typed[1] = "no\n";
	scene_expect(&s, "long", NO, false);
	cr_expect_eq(s.questions, 2, "%s", s.screen);
}

Test(trust, interrupted)
{
	struct scene first = {.distrust = UNKNOWN, .terminal = true, .interrupt = true};
	struct scene later = first;

	scene_expect(&first, "at once", -ERR_INTERRUPTED, false);
	later.typed[0] = "maybe\n";
	scene_expect(&later, "later", -ERR_INTERRUPTED, false);
}

/* The terminal goes away.  (The hang-up also brings SIGHUP, which sockcp blocks.) */
Test(trust, hang_up)
{
	struct scene s = {.distrust = UNKNOWN, .terminal = true};

	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	cr_assert_eq(sigprocmask(SIG_BLOCK, &set, NULL), 0);
	scene_expect(&s, "hang-up", NO, false);
}

/* -- What is said --------------------------------------------------------- */

static void said_has(struct scene *s, const char *const parts[6])
{
	scene_play(s);
	for (size_t i = 0; i < 6 && parts[i]; i++)
		cr_expect_not_null(
			strstr(s->said, parts[i]), "no %s in %s", parts[i], s->said);
}

Test(trust, words)
{
	struct scene changed = {.known = "# x\nh:1 " B "\n", .accept_new = true};
	struct scene pin = {.pin = 'C', .distrust = UNKNOWN};
	struct scene ca = {.ca = true, .distrust = "certificate has expired"};
	struct scene stranger = {.distrust = UNKNOWN};
	struct scene no = {.distrust = UNKNOWN, .terminal = true, .typed = {"no\n"}};
	struct scene nonsense = {.known = "#\n#\nh:1\n"};
	struct scene open = {.known = "h:1 " A "\n", .mode = 0644};
	struct scene kept = {.accept_new = true, .distrust = UNKNOWN};
	const char *const advice = "'sockd fingerprint'";

	said_has(
		&changed, (const char *[6]){"h:1 shows " A, "known_hosts, line 2, has " B,
				  "remove that line", advice});
	said_has(&pin, (const char *[6]){"h:1 shows " A, C " was asked for", advice});
	said_has(&ca, (const char *[6]){"shows " A, "--ca", "certificate has expired"});
	said_has(&stranger, (const char *[6]){"not known yet", A, "no terminal",
				    "--pin=", "--accept-new", advice});
	said_has(&no, (const char *[6]){A, "did not agree"});
	said_has(&nonsense, (const char *[6]){"/sockd/known_hosts, line 3", "HOST:PORT"});
	said_has(&open,
		(const char *[6]){"cannot be read: permission denied", "mode 600"});
	said_has(&kept, (const char *[6]){"sockcp: h:1 is known from now on as " A "\n"});
}

/* What cannot be remembered would be a stranger the next time as well. */
Test(trust, must_be_remembered)
{
	struct scene options = {
		.accept_new = true, .distrust = UNKNOWN, .read_only = true};
	struct scene user = {.distrust = UNKNOWN,
		.terminal = true,
		.typed = {"yes\n"},
		.read_only = true};
	struct scene pin = {.pin = 'A', .distrust = UNKNOWN, .read_only = true};

	scene_expect(&options, "--accept-new", NO, false);
	cr_expect_not_null(strstr(options.said, "cannot be written"), "%s", options.said);
	scene_expect(&user, "yes", NO, false);
	scene_expect(&pin, "--pin", 0, false);
}

/* Neither on the terminal nor on stderr: escapes in a host's name. */
Test(trust, nothing_raw)
{
	struct scene name = {.host = "\x1b[2J", .distrust = UNKNOWN};
	struct scene bytes = {.host = "h\xc2\x9b"
				      "1m\xff",
		.distrust = UNKNOWN,
		.terminal = true,
		.typed = {"no\n"}};
	struct scene why = {.ca = true, .distrust = "bad\x1b[2J\n"};

	scene_expect(&name, "a name with escapes", NO, false);
	cr_expect_not_null(strstr(name.said, "\\x1b[2J"), "%s", name.said);
	scene_expect(&bytes, "C1 and no UTF-8", NO, false);
	cr_expect_not_null(
		strstr(bytes.screen, "h\\xc2\\x9b1m\\xff:1 is"), "%s", bytes.screen);
	cr_expect_not_null(strstr(bytes.said, "h\\xc2\\x9b1m\\xff:1"), "%s", bytes.said);
	scene_expect(&why, "words with escapes", NO, false);
	cr_expect_not_null(strstr(why.said, "bad\\x1b[2J\\n"), "%s", why.said);
}

Test(trust, remembered)
{
	struct scene rows[] = {
		{.remember = true},
		{.remember = true, .known = "g:1 " B "\n"},
		{.remember = true, .known = "h:1 " A "\n"},
		{.remember = true, .known = "h:1 " B "\n"},
		{.remember = true, .known = "x\n"},
		{.remember = true, .read_only = true},
	};

	scene_expect(&rows[0], "new", 0, true);
	scene_expect(&rows[1], "another", 0, true);
	scene_expect(&rows[2], "the same", 0, false);
	scene_play(&rows[3]);
	cr_expect_eq(rows[3].err, -ERR_EXISTS);
	cr_expect(rows[3].status == 4 && strstr(rows[3].said, "line 1, has " B), "%s",
		rows[3].said);
	scene_expect(&rows[4], "nonsense", NO, false);
	scene_expect(&rows[5], "not writable", NO, false);
}

/* -- The directory -------------------------------------------------------- */

static void directory_expect(
	const char *xdg, const char *home, bool there, const char *below)
{
	struct scratch s;
	char value[2][4200], want[4300];
	int status;

	scratch_init(&s);
	snprintf(value[0], sizeof(value[0]), "%s%s", *xdg == '/' ? s.path : "", xdg);
	snprintf(value[1], sizeof(value[1]), "%s%s", *home == '/' ? s.path : "", home);
	snprintf(want, sizeof(want), "%s%s", *below == '~' ? "" : s.path, below);
	setenv("XDG_CONFIG_HOME", value[0], 1);
	setenv("HOME", value[1], 1);
	pid_t pid = fork(); /* it is looked up once */
	if (pid == 0) {
		int fd = trust_directory();
		_exit((fd >= 0) != there                            ? 1
			: strcmp(trust_directory_name(), want) != 0 ? 2
								    : 0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(status, 0, "%s %s: %d", xdg, home, WEXITSTATUS(status));
	struct stat st;
	if (there)
		cr_expect(
			stat(want, &st) == 0 && (st.st_mode & 07777) == 0700, "%s", want);
	scratch_fini(&s);
}

Test(trust, directory)
{
	char deep[4200] = "/";

	directory_expect("/x/y", "/home", true, "/x/y/sockd");
	directory_expect("", "/home", true, "/home/.config/sockd");
	directory_expect("relative", "/home", true, "/home/.config/sockd");
	directory_expect("", "", false, "~/.config/sockd");
	directory_expect("", "relative", false, "~/.config/sockd");
	memset(deep + 1, 'd', 4100);
	directory_expect("", deep, false, "~/.config/sockd");
}
