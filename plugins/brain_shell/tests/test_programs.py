"""Ways by which a program makes code of a value: each is refused, and what people really write is not (G22)."""

from __future__ import annotations

import pytest
from brain_shell import ShellStep
from brain_shell.taint import is_stdin
from pydantic import ValidationError

STDIN = "standard input"
NAME = "name of a program"
MAY = "may be an option"
REFUSED: list[tuple[str, str]] = [
    # scripts read from standard input
    ("printf %s {x} | sed -f -", STDIN),
    ("printf %s {x} | sed -n -f /dev/stdin file", STDIN),
    ("printf %s {x} | sed -nf- file", STDIN),
    ("printf %s {x} | sed --file=- file", STDIN),
    ("printf %s {x} | sed --fil /dev/stdin file", STDIN),
    ("printf %s {x} | awk -f - file", STDIN),
    ("printf %s {x} | gawk -f /dev/stdin file", STDIN),
    ("printf %s {x} | gawk -f/dev/fd/0 file", STDIN),
    ("printf %s {x} | gawk --file=/proc/self/fd/0 file", STDIN),
    ("printf %s {x} | gawk -i /dev/stdin 'BEGIN{}'", STDIN),
    ("awk -f - <<EOF\n{x}\nEOF", STDIN),
    ("awk -f /dev/stdin file < {x}", STDIN),
    ("printf %s {x} | make -f -", STDIN),
    ("printf %s {x} | bc", STDIN),
    ("printf %s {x} | dc", STDIN),
    ("printf %s {x} | gnuplot -", STDIN),
    ("printf %s {x} | sqlite3 db", STDIN),
    ("printf %s {x} | psql -U me", STDIN),
    ("printf %s {x} | ts-node", STDIN),
    ("printf %s {x} | ftp host", STDIN),
    ("printf %s {x} | redis-cli", STDIN),
    ("printf %s {x} | jq -f /dev/stdin file", STDIN),
    ("printf %s {x} | curl -K - https://example.com", STDIN),
    ("printf %s {x} | tar -cT - -f a.tar", STDIN),
    ("printf %s {x} | tar czfT a.tgz -", STDIN),
    ("printf %s {x} | tar --files-from=- -cf a.tar", STDIN),
    ("printf %s {x} | docker build -f - .", STDIN),
    ("printf %s {x} | ssh -F - host ls", STDIN),
    ("printf %s {x} | python3 -i script.py", STDIN),
    ("printf %s {x} | python3 -m code", STDIN),
    ("printf %s {x} | php -a", STDIN),
    ("printf %s {x} | node -r /dev/stdin a.js", STDIN),
    ("printf %s {x} | bash --rcfile /dev/stdin -i", STDIN),
    # its name written otherwise
    ("printf %s {x} | sh ./../../dev/stdin", STDIN),
    ("printf %s {x} | sh //dev//stdin", STDIN),
    ("printf %s {x} | sh ../../../../dev/fd/0", STDIN),
    ("printf %s {x} | sh /proc/self/fd/0", STDIN),
    ("printf %s {x} | sh /proc/self/../self/fd/0", STDIN),
    ("printf %s {x} | sh /proc/$$/fd/0", STDIN),
    ('printf %s {x} | sh "$ROOT/dev/stdin"', STDIN),
    ("printf %s {x} | python3 ./../../dev/stdin", STDIN),
    ("printf %s {x} | . ./../../dev/stdin", STDIN),
    # interpreters behind programs
    ("chrt -f 10 sh -c {x}", "code for 'sh'"),
    ("chrt 10 {x}", NAME),
    ("setpriv --reuid=1 sh -c {x}", "code for 'sh'"),
    ("setpriv --reuid {x} ls", "cannot be read"),
    ("env --split-string='sh -c' {x}", "cannot be read"),
    ("systemd-run --user --unit=a {x}", NAME),
    ("xvfb-run -a {x}", NAME),
    ("valgrind --tool=memcheck {x}", NAME),
    ("uv run {x}", "'uv' expects a program"),
    ("uv run --with a {x}", "'uv' expects a program"),
    ("poetry run python {x}", "code for 'python'"),
    ("printf %s {x} | uv run python", STDIN),
    ("npm exec {x}", "'npm' expects a program"),
    ("ansible all -m shell -a {x}", "'ansible'"),
    ("setpriv --no-new-privs {x}", NAME),
    ("strace -f sh -c 'echo {x}'", "code for 'sh'"),
    ("strace -o {x} ls", "cannot be read"),
    ("strace -o'|{x}' ls", "cannot be read"),
    ("printf %s {x} | docker exec -i box sh", STDIN),
    ("printf %s {x} | docker exec -i box bash -s", STDIN),
    ("printf %s {x} | docker exec -i box psql -U me", STDIN),
    ("printf %s {x} | docker run -i --rm python", STDIN),
    ("docker exec box {x}", "'docker exec' expects a program"),
    ("docker exec -it -u root box {x} a", "'docker exec' expects a program"),
    ("docker exec box python3 {x}", "code for 'python'"),
    ("docker exec bash sh -c {x}", "code for 'sh'"),
    ("docker exec box psql -c {x}", "'psql'"),
    ("docker exec box env {x}", NAME),
    ("podman exec box awk {x}", "code for 'awk'"),
    ("printf %s {x} | kubectl exec -i pod -- sh", STDIN),
    ("kubectl exec pod -- sh -c 'echo {x}'", "code for 'sh'"),
    ("kubectl exec pod -c main -- {x}", "'kubectl exec' expects a program"),
    ("some-wrapper --fast bash -c {x}", "code for 'bash'"),
    ("some-wrapper /usr/bin/perl -e {x}", "code for 'perl'"),
    ("printf %s {x} | some-wrapper bash", STDIN),
    ("w={x}; some-wrapper sh -c \"$w\"", "code for 'sh'"),
    ("a={x} some-wrapper sh -c 'eval \"$a\"'", "'eval'"),
    ("printf %s {x} | ssh host", STDIN),
    ("printf %s {x} | ssh host bash", STDIN),
    ("printf %s {x} | ssh -p 22 me@host 'cd /tmp && sh -s'", STDIN),
    ("printf %s {x} | ssh host sudo bash", STDIN),
    ('printf %s {x} | ssh host "$COMMAND"', STDIN),
    ("printf %s {x} | chroot /mnt", "starts a shell"),
    ("printf %s {x} | unshare -r", "starts a shell"),
    ("printf %s {x} | nsenter -t 1 -m", "starts a shell"),
    ("printf %s {x} | chroot /mnt sh", STDIN),
    ("unshare -r {x}", NAME),
    ("npx {x}", NAME),
    ("printf %s {x} | xargs find", "spell -exec"),
    ("printf %s {x} | xargs find . -name", "spell -exec"),
    ("printf %s {x} | xargs tar czf a.tgz", "several options"),
    ("printf %s {x} | xargs docker exec box", "expects a program"),
    # options that run commands
    ("split --filter={x} file", "'split --filter'"),
    ("split --filter {x} file", "'split --filter'"),
    ("split --fil={x} file", "'split --filter'"),
    ("split {x}", MAY),
    ("tar --to-command {x} -xf a", "'tar --to-command'"),
    ("tar --to-c={x} -xf a", "'tar --to-command'"),
    ("tar -xf a --checkpoint=1 --checkpoint-action={x}", "'tar --checkpoint-action'"),
    ("tar -xf a --checkpoint-action=exec={x}", "'tar --checkpoint-action'"),
    ("tar -I {x} -xf a", "'tar -I'"),
    ("tar -I{x} -xf a", "'tar -I'"),
    ("tar -cI {x} -f a .", "'tar -I'"),
    ("tar cIf {x} a .", "'tar -I'"),
    ("tar cfI a {x} .", "'tar -I'"),
    ("tar --use-compress-program={x} -xf a", "'tar --use-compress-program'"),
    ("tar --use={x} -xf a", "'tar --use-compress-program'"),
    ("tar czf a.tgz {x}", MAY),
    ("tar -czf a.tgz -C / {x}", MAY),
    ("tar -I -- {x}", MAY),
    ("tar -c{x}", "may bring options"),
    ("tar --{x} -f a", "may bring options"),
    ("w={x}; tar czf a -C $w .", "several options"),
    ("rsync -e {x} a b", "'rsync -e'"),
    ("rsync -ave {x} a b", "'rsync -e'"),
    ("rsync -ave{x} a b", "'rsync -e'"),
    ("rsync --rsh={x} a b", "'rsync --rsh'"),
    ("rsync --rsh {x} a b", "'rsync --rsh'"),
    ("rsync --rsync-path={x} a b", "'rsync --rsync-path'"),
    ("rsync -a {x} /backup/", MAY),
    ("sort --compress-prog={x} a", "'sort --compress-program'"),
    ("zip -q a.zip {x}", MAY),
    ("man {x}", MAY),
    ("tcpdump -i any -z {x}", "'tcpdump -z'"),
    ("nc -e {x} host 1", "'nc -e'"),
    ("wget --use-askpass={x} https://example.com", "'wget --use-askpass'"),
    ("curl -K {x}", "'curl -K'"),
    ("apt-get -o {x} update", "'apt-get -o'"),
    ("socat - {x}", "'socat'"),
    ("rg --pre={x} a", "'rg --pre'"),
    ("fd a -x {x}", "'fd -x'"),
    ("cmake -P {x}", "'cmake -P'"),
    ("git -c core.pager={x} log", "'git -c'"),
    ("git --exec-path={x} log", "'git --exec-path'"),
    ("git {x}", MAY),
    ("git rebase -x {x} main", "'git rebase -x'"),
    ("git rebase --exec={x} main", "'git rebase --exec'"),
    ("git rebase --exe {x} main", "'git rebase --exec'"),
    ("git rebase {x}", MAY),
    ("git submodule foreach {x}", "'git submodule'"),
    ("git submodule --quiet foreach 'echo {x}'", "'git submodule'"),
    ("git bisect run {x}", "'git bisect'"),
    ("git bisect run sh -c 'test {x}'", "'git bisect'"),
    ("printf %s {x} | git bisect run sh", STDIN),
    ("git grep -O{x} a", "'git grep -O'"),
    ("git grep --open-files-in-pager={x} a", "'git grep --open-files-in-pager'"),
    ("git grep {x}", MAY),
    ("git clone {x}", MAY),
    ("git clone -u {x} a", "'git clone -u'"),
    ("git clone --upload-pack={x} a", "'git clone --upload-pack'"),
    ("git fetch origin {x}", MAY),
    ("git push --receive-pack {x} origin", "'git push --receive-pack'"),
    ("git pull origin {x}", MAY),
    ("git pull -- origin {x}", "-- does not help there"),
    ("git remote update -- {x}", "'git remote'"),
    ("git filter-branch --msg-filter {x}", "'git filter-branch'"),
    ("git config core.pager {x}", "'git config'"),
    ("git -C {x} config alias.a {y}", "'git config'"),
    ("git difftool --extcmd={x}", "'git difftool --extcmd'"),
    # one word that becomes several
    ("env a=$(echo {x}) ls", "several words"),
    ("timeout $(echo {x}) ls", "several words"),
    ('f() { env a="$@" ls; }; f {x}', "several words"),
    ("find a$(echo {x})", "spell -exec"),
    ("w={x}; export a=$w", "several words"),
    ("f() { local a=$1; }; f {x}", "several words"),
    ("w={x}; readonly a=$w", "several words"),
    ("export a=$(echo {x})", "several words"),
    ("f() { export a=\"$@\"; }; f {x}", "several words"),
]  # fmt: skip

HARMLESS = [
    "curl -o {x} https://example.com",
    "curl -fsS {x} -H \"A: {y}\" | jq .a",
    "wget -q -O {y} {x}",
    "grep -- {x} file; grep -rn -e {x} .; grep -c bash {x}",
    "git commit -m {x}; git commit -qam '{x} and {y}'; git tag -a v1 -m {x}",
    "git checkout -b {x}; git log --author={x}; git add {x}; git -C {x} status --short",
    "git clone -- {x} {y}; git clone -b {x} https://example.com/a.git; git push origin HEAD:refs/heads/{x}",
    "git grep -e {x}; git grep -- {x}; git rebase --onto={x} main; git config user.email {x}",
    "git bisect run ./test.sh; git submodule foreach 'git pull'; echo {x}",
    "tar czf {x} .",
    "tar -czf {x} -C {y} .",
    "tar --file={x} --exclude {y} -xz",
    "tar czf a.tgz -- {x}; tar czf a.tgz ./{x} 'data/{y}'",
    "printf %s {x} | tar czf a.tgz --verbatim-files-from -T -; printf %s {x} | tar -cf {y} --null --files-from=-",
    "printf %s {x} | tar czf a.tgz -; printf '%s' {x} | tar xzf -",
    "rsync -a --delete -- {x} {y}; rsync -av --exclude={x} ./{x}/ host:/backup",
    "sort -k 2 -o {x} -- {y}; sort ./{x}; echo {x} | sort -u",
    "split -b 1m -- {x} part.; zip -q a.zip ./{x}; man -- {x}",
    "docker run --rm -v {x}:/data image tool {y}; docker exec box ls {x}; docker exec -u 0 {x} ls",
    "docker exec box python3 script.py {x}; docker exec -i box sh -c 'echo \"$1\"' _ {x}",
    "docker build -t {x} . ; docker tag a {x}; printf %s {x} | docker login -u me --password-stdin",
    "kubectl get pod {x} -n {y}; kubectl exec pod -- ls {x}; printf %s {x} | kubectl exec -i pod -- tee f",
    "printf %s {x} | ssh host 'cat > file'; printf %s {x} | ssh -p 22 me@host tee a b",
    "printf %s {x} | python3 script.py -; printf %s {x} | python3 -c 'import sys; sys.stdin.read()'",
    "printf %s {x} | sed 's/a/b/'; printf %s {x} | sed -f prog.sed; printf %s {x} | sed -e s/a/b/ -",
    "printf %s {x} | awk '{print $1}' -; printf %s {x} | awk -f prog.awk | sort | uniq -c",
    "printf %s {x} | grep -f - file; printf %s {x} | xargs -0 rm -f; printf %s {x} | tee bash.txt",
    "printf %s {x} | jq -r .a; printf %s {x} | wc -l; printf %s {x} | gzip -9 > a.gz",
    "ls *.log | xargs tar czf a.tgz; find . -type f | xargs find; echo {x}",
    "printf %s {x} | xargs tar czf a.tgz --; printf %s {x} | xargs -0 -n 1 ls --",
    "printf %s {x} | sh script.sh; printf %s {x} | bash ./data/stdin.sh",
    "echo python {x}; echo sh -c {x}; cp {x} bash; ls -l /usr/bin/perl {x}; apt-get install -y python3 {x}",
    "usermod -s /bin/bash {x}; pkill -f -- {x}; which python3; mkdir -p {x}; rm -rf -- {x}",
    "strace -f -o trace.txt ls {x}; chrt -f 10 ls {x}; setpriv --no-new-privs ls {x}; chroot /mnt ls {x}",
    'a={x}; export A="$a" C={y}; f() { local b="$1"; }; f',
    "export A=$HOME D=$(date); echo {x}",
    "uv run tool {x}; uv run --with a -- tool {x}; uv run a.py --in={x}; poetry run tool a {x}; redis-cli set k {x}",
    "systemd-run --user --unit=a ls {x}; valgrind --tool=memcheck ./a {x}; xvfb-run -a tool {x}; rg {x} src; fd {x}",
    "pip install -r {x}; npm run build -- {x}; cargo build --target-dir {x}; ffmpeg -i {x} {y}.mp4; my-tool {x}",
    "pandoc -o {x} {y}; convert {x} -resize 50% {y}; aws s3 cp {x} s3://b/{y}; gh pr create --title {x}",
]  # fmt: skip


def message_of(command: str) -> str:
    with pytest.raises(ValidationError) as caught:
        ShellStep(name="s", command=command)
    return caught.value.errors()[0]["msg"]


@pytest.mark.parametrize(("command", "part"), REFUSED)
def test_refused(command: str, part: str) -> None:
    message = message_of(command)
    assert part in message
    assert "\n" not in message


@pytest.mark.parametrize("command", HARMLESS)
def test_stays_usable(command: str) -> None:
    assert any(ShellStep(name="s", command=command).placeholders())


@pytest.mark.parametrize("command", ["sed -f -", "awk -f /dev/stdin a", "psql", "ssh host bash", "chroot /mnt", "bc"])
def test_the_value_of_stdin_counts(command: str) -> None:
    with pytest.raises(ValidationError, match=r"standard input|starts a shell"):
        ShellStep(name="s", command=command, stdin="{x}")
    assert ShellStep(name="s", command=command, stdin="1").stdin == "1"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("-", True), ("/dev/stdin", True), ("./../dev/stdin", True), ("dev/fd/3", True), ("/proc/1/task/2/fd/0", True),
     ("", False), ("a", False), ("/dev/null", False), ("./stdin.sh", False), ("--", False), ("stdin", False)],
)  # fmt: skip
def test_names_of_standard_input(name: str, expected: bool) -> None:
    assert is_stdin(name) is expected


DANGEROUS = [
    "PATH", "HOME", "LUA_INIT", "LUA_INIT_5_4", "PSQLRC", "PSQL_EDITOR", "MAKEFILES", "MAKEFLAGS", "GNUMAKEFLAGS",
    "OPENSSL_CONF", "OPENSSL_MODULES", "GIT_SSH_COMMAND", "GIT_EXTERNAL_DIFF", "GIT_PAGER", "GIT_CONFIG_COUNT",
    "GIT_EDITOR", "GIT_DIR", "XDG_CONFIG_HOME", "ZDOTDIR", "INPUTRC", "CC", "CARGO_HOME", "RUSTC_WRAPPER",
    "NPM_CONFIG_GLOBALCONFIG", "npm_config_script_shell", "SVN_SSH", "RSYNC_RSH", "RSYNC_CONNECT_PROG", "WGETRC",
    "KUBECONFIG", "DOCKER_HOST", "AWS_CONFIG_FILE", "VIMINIT", "SYSTEMD_EDITOR", "MANPAGER", "MAVEN_OPTS", "TERMINFO",
]  # fmt: skip


@pytest.mark.parametrize("name", DANGEROUS)
def test_no_value_decides_what_runs(name: str) -> None:
    with pytest.raises(ValidationError, match=f"a placeholder stands in {name}, which decides what programs run"):
        ShellStep(name="s", command="ls", env={name: "{x}"})
    for command in (f"{name}={{x}} ls", f"export {name}={{x}}", f"env {name}={{x}} ls", f"v={{x}}; {name}=$v"):
        assert f"is assigned to {name}, which" in message_of(command)
    assert ShellStep(name="s", command="ls", env={name: "constant"}).env


@pytest.mark.parametrize(
    "name",
    ["NAME", "GIT_AUTHOR_NAME", "GIT_COMMITTER_EMAIL", "GIT_AUTHOR_DATE", "PGHOST", "PGPASSWORD", "LANG", "TZ", "URL",
     "HOMEPAGE", "MY_PATH", "AWS_REGION", "HTTP_PROXY", "CCC", "HTTPS_PROXY", "TOKEN", "DEBUG", "LESSON", "ZIPCODE"],
)  # fmt: skip
def test_other_variables_take_values(name: str) -> None:
    assert ShellStep(name="s", command=f"{name}={{x}} ls; export {name}={{y}}", env={name: "{x}"}).env
