"""Runner processes: workflow code away from the daemon.

spawner.py         in the daemon: the zygote as the daemon sees it
zygote.py          a process that has the imports; forks a runner when asked, reaps, and ends what runners leave
runner_child.py    what runs in a runner: one workflow file, many runs at once
guard.py           a thread in the runner: ends its children when the daemon is gone or silent
link.py            frames between daemon and runner
messages.py        what the frames say
process_runner.py  in the daemon: a runner process as a Runner
pool.py            in the daemon: which runner has which version of which file
"""
