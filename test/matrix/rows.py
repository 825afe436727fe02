# SPDX-License-Identifier: Apache-2.0
"""The rows of the matrix: what is done to a deployment. A row ends when all that it broke is mended again."""
import collections
import os
import threading

from harness import wait_until

Row = collections.namedtuple("Row", "name act store hosts moves within small strict")
ROWS = []
AWAY_S = float(os.environ.get("LDC_AWAY_S", "60"))  # how long the store is away


def row(name, store="dir", hosts=False, moves="must", within=5.0, small=None, strict=False):
    """MOVES: whether the unit that is struck must, may or must never fail over. WITHIN: the first acknowledgement, and the
    longest silence, in seconds; loose, for the machine may be busy. SMALL: the broker that has a small disk of its own. STRICT: no request
    of the unit fails either."""
    def add(act):
        ROWS.append(Row(name, act, store, hosts, moves, within, small, strict))
        return act
    return add


def pause(seconds):
    """How long a fault lasts; nothing is waited for."""
    threading.Event().wait(seconds)


# --- brokers that die ------------------------------------------------------------------------------------------------

def lose_primary(scene, go=lambda: None):
    """It dies, right behind what GO does; payments go on; it comes back."""
    primary = scene.primary
    scene.mark()
    go()
    scene.kill(primary)
    scene.more(100)
    scene.restart(primary)


@row("kill -9 of the primary")
def kill(scene):
    lose_primary(scene)


@row("kill -9, back at once", moves="may")
def kill_back(scene):
    primary = scene.primary
    scene.mark()
    scene.kill(primary)
    scene.restart(primary)


@row("back at once and empty", moves="may")
def empty(scene):
    primary = scene.primary
    scene.mark()
    scene.kill(primary)
    scene.empty_data(primary)
    scene.restart(primary)


@row("back at once with an old copy", moves="may")
def old(scene):
    primary = scene.primary
    scene.copy_data(primary)
    scene.more(200)
    scene.mark()
    scene.kill(primary)
    scene.restore_data(primary)
    scene.restart(primary)


def while_gateways_sleep(scene, spoil):
    """Nobody can fail over before the primary is back: what its agent thinks of it decides alone."""
    primary, standby, gateways = scene.primary, scene.standby, scene.of(role="gateway")
    scene.struck_gateways.update(gateways)
    scene.mark()
    scene.freeze(*gateways)
    scene.kill(primary)
    spoil(primary)
    scene.restart(primary)
    pause(2)
    if scene.leads(primary):  # which it must not: what comes of it shows when the standby has copied it
        wait_until(lambda: scene.follows(standby, primary), 60, "the standby to copy what leads")
    scene.thaw(*gateways)


@row("empty while gateways stand still")
def empty_unseen(scene):
    while_gateways_sleep(scene, scene.empty_data)


@row("old copy while gateways stand still")
def old_unseen(scene):
    """The copy is older than the record, and lacks what was not delivered yet."""
    standby = scene.standby
    scene.copy_data(scene.primary)
    scene.kill(standby)
    wait_until(lambda: not scene.is_whole(), 30, "the standby to be struck off")
    scene.restart(standby)
    wait_until(scene.is_whole, 30, "the standby to be back")
    scene.deliver("pause")
    scene.more(100)
    while_gateways_sleep(scene, scene.restore_data)
    scene.deliver("resume")


@row("kill -9 of the standby", moves="never")
def kill_standby(scene):
    standby = scene.standby
    scene.mark()
    scene.kill(standby)
    scene.more(100)
    scene.restart(standby)


@row("kill -9 of primary and standby", moves="may")
def both(scene):
    """The standby, which stands still already, may be named and never promoted: it has to be taken up as what it was."""
    brokers = scene.primary, scene.standby
    scene.mark()
    scene.freeze(scene.standby)
    scene.kill(brokers[0])
    pause(0.5)
    scene.kill(brokers[1])
    for broker in brokers:
        scene.restart(broker)


@row("the unit dies whole")
def kill_unit(scene):
    names = [scene.primary] + scene.of(role="agent", unit="RZ01") + scene.of(role="app", unit="RZ01")
    scene.mark()
    for name in names:
        scene.kill(name)
    scene.more(100)
    for name in names:
        scene.restart(name)


# --- who stands still ------------------------------------------------------------------------------------------------

def stop(role, ms, moves):
    @row(f"SIGSTOP of {role}, {ms} ms", moves=moves, within=5.0 + ms / 1000)
    def act(scene):
        names = {"the primary": lambda: [scene.primary], "the standby": lambda: [scene.standby],
                 "its agent": lambda: scene.of(role="agent", unit="RZ01"), "a gateway": lambda: ["gateway-2"],
                 "all gateways": lambda: scene.of(role="gateway")}[role]()
        scene.struck_gateways.update(name for name in names if name.startswith("gateway"))
        scene.mark()
        scene.freeze(*names, seconds=ms / 1000)


for each in (("the primary", 30, "never"), ("the primary", 80, "may"), ("the primary", 500, "must"),
             ("the primary", 5000, "must"), ("the standby", 80, "never"), ("the standby", 5000, "never"),
             ("its agent", 80, "may"), ("its agent", 5000, "may"), ("a gateway", 80, "never"), ("a gateway", 5000, "never"),
             ("all gateways", 80, "never"), ("all gateways", 500, "never")):
    stop(*each)


@row("kill -9 of its agent, back after 8 s", moves="may", within=3.0)
def kill_agent(scene):
    agent, = scene.of(role="agent", unit="RZ01")
    scene.mark()
    scene.kill(agent)
    pause(8)
    scene.restart(agent)


# --- at the worst moment ---------------------------------------------------------------------------------------------

@row("a set grows behind a gateway's back, then the primary dies")
def grow_unseen(scene):
    """A gateway sleeps with the last record that lets it acknowledge alone, its payers waiting. The standby joins, and
    the keeper stands still the moment that the store has it. When the gateway wakes, nobody tells it of that, the standby
    does not hear of what it does, and then has to lead."""
    primary, standby, sleeper, keeper = scene.primary, scene.standby, "gateway-2", scene.of(role="agent", unit="RZ01")[0]
    scene.struck_gateways.add(sleeper)
    scene.kill(standby)
    wait_until(lambda: not scene.is_whole(), 30, "the standby to be struck off")
    scene.crowd(sleeper)
    scene.harm(keeper, members=2)
    scene.restart(standby)
    put_to_sleep(scene, sleeper, lambda: scene.is_stopped(keeper))
    scene.mute(primary)
    scene.harm(sleeper, deaf=1)
    scene.thaw(sleeper)
    pause(0.05)
    scene.mark()
    scene.kill(primary)
    scene.harm(sleeper, deaf=0)
    scene.thaw(keeper)
    scene.more(100)
    scene.restart(primary)


def put_to_sleep(scene, sleeper, over):
    """SLEEPER stands still until OVER(), and wakes for a moment only to learn of records without the standby."""
    known = 0
    while not over():
        version, members = scene.stored()
        if members == 1 and version != known:
            scene.thaw(sleeper)
            wait_until(lambda v=version: scene.record_at(sleeper)["version"] >= v, 20, f"{sleeper} to learn of the record")
            scene.freeze(sleeper)
            known = version
        pause(0.001)


@row("a strange replica, then the primary dies", moves="must")
def rogue(scene):
    """Its agent sleeps, so nobody detaches the stranger; the member hears of nothing, and then has to lead."""
    primary, agent = scene.primary, scene.of(role="agent", unit="RZ01")[0]
    scene.freeze(agent)
    scene.mute(primary)
    rogue = scene.rogue(primary)
    pause(0.2)
    scene.mark()
    scene.kill(primary)
    rogue.kill()
    scene.thaw(agent)
    scene.more(100)
    scene.restart(primary)


# --- disks and clocks ------------------------------------------------------------------------------------------------

def disk_full(who, moves):
    @row(f"the disk of {who} is full", moves=moves, small={"the primary": "RZ01-broker", "the standby": "RZ01-replica"}[who])
    def act(scene):
        name = scene.small
        scene.mark()
        filler = scene.fill_disk(name)
        if [scene.broker_at(url) for url in scene.record()["in_sync"]] != [name]:  # else it had just come to lead alone
            scene.more(100)
        filler.unlink()
        scene.restart(name)


disk_full("the primary", "may")
disk_full("the standby", "never")


@row("fsync of the primary takes 60 ms longer", moves="may")
def slow_disk(scene):
    primary = scene.primary
    scene.mark()
    scene.harm(primary, sync_us=60000)
    pause(3)
    scene.harm(primary, sync_us=0)


@row("fsync of the standby takes 60 ms longer", moves="may")
def slow_standby(scene):
    standby = scene.standby
    scene.mark()
    scene.harm(standby, sync_us=60000)
    pause(3)
    scene.harm(standby, sync_us=0)


def clock_jump(who, hours):
    @row(f"the clock of {who} jumps by {hours:+d} h", moves="never")
    def act(scene):
        names = {"the primary": [scene.primary], "its agent": scene.of(role="agent", unit="RZ01"), "a gateway": ["gateway-2"],
                 "all but the apps": scene.of(role="broker") + scene.of(role="agent") + scene.of(role="gateway")}[who]
        scene.mark()
        for name in names:
            scene.harm(name, clock_us=hours * 3600 * 1000000)
        pause(2)
        scene.more(50)
        for name in names:
            scene.harm(name, clock_us=0)


for each in (("the primary", 1), ("the primary", -1), ("its agent", 1), ("its agent", -1), ("a gateway", 1), ("a gateway", -1),
             ("all but the apps", -1)):
    clock_jump(*each)


# --- the store: a folder ---------------------------------------------------------------------------------------------

def while_away(scene, go, back):
    """Payments go on, and a gateway that is started meanwhile takes part."""
    gateway = "gateway-2"
    scene.struck_gateways.add(gateway)
    scene.mark()
    go()
    pause(AWAY_S / 2)
    scene.kill(gateway)
    scene.restart(gateway)
    wait_until(lambda: scene.pays_at(gateway), 30, "the restarted gateway to route", every=0.05)
    pause(AWAY_S / 2)
    back()


@row("the store's folder is away for a minute", moves="never", strict=True)
def folder_away(scene):
    while_away(scene, scene.play.hide_store, scene.play.show_store)


# --- the store: etcd -------------------------------------------------------------------------------------------------

@row("all members of the store are away for a minute", store="etcd", moves="never", strict=True)
def store_away(scene):
    members = scene.of(role="store")
    while_away(scene, lambda: scene.freeze(*members), lambda: scene.thaw(*members))


@row("kill -9 of the store's leader", store="etcd", moves="never")
def kill_leader(scene):
    leader = scene.leader()
    scene.mark()
    scene.kill(leader)
    scene.more(100)
    scene.restart(leader)


@row("kill -9 of a follower of the store", store="etcd", moves="never")
def kill_follower(scene):
    follower = next(name for name in scene.of(role="store") if name != scene.leader())
    scene.mark()
    scene.kill(follower)
    scene.more(100)
    scene.restart(follower)


@row("most of the store stands still, 3 s", store="etcd", moves="never")
def store_minority(scene):
    members = [name for name in scene.of(role="store") if name != scene.leader()]
    scene.mark()
    scene.freeze(*members, seconds=3)


def with_leader(name, strike, moves="must", **options):
    """The primary, and the store's leader at the same time."""
    @row(f"{name}, and the store's leader dies", store="etcd", moves=moves, **options)
    def act(scene):
        primary, leader = scene.primary, scene.leader()
        scene.mark()
        scene.kill(leader)
        strike(scene, primary)
        scene.more(100)
        scene.restart(leader)
        if not scene.lives(primary):
            scene.restart(primary)


def back_empty(scene, primary):
    scene.kill(primary)
    scene.empty_data(primary)
    scene.restart(primary)


def kill_agent_too(scene, primary):
    scene.kill(primary)
    agent, = scene.of(role="agent", unit="RZ01")
    scene.kill(agent)
    scene.restart(agent)


with_leader("kill -9 of the primary", lambda scene, primary: scene.kill(primary))
with_leader("SIGSTOP of the primary, 80 ms", lambda scene, primary: scene.freeze(primary, seconds=0.08), moves="may")
with_leader("SIGSTOP of the primary, 500 ms", lambda scene, primary: scene.freeze(primary, seconds=0.5), moves="may")
with_leader("SIGSTOP of the primary, 5000 ms", lambda scene, primary: scene.freeze(primary, seconds=5))
with_leader("the primary is back empty", back_empty, moves="may")
with_leader("kill -9 of primary and agent", kill_agent_too)
with_leader("kill -9 of the standby", lambda scene, primary: back_empty(scene, scene.standby), moves="never")


@row("the store's answers get lost while the primary dies", store="etcd")
def lost_replies(scene):
    """What is asked of it is done."""
    primary = scene.primary
    rules = [["OUTPUT", "-p", "tcp", "--sport", str(scene.address(name, "client")[1]), "-j", "DROP"]
             for name in scene.of(role="store")]
    scene.mark()
    for rule in rules:
        scene.lose(rule)
    scene.kill(primary)
    pause(0.5)
    for rule in rules:
        scene.let(rule)
    scene.more(100)
    scene.restart(primary)


@row("the store compacts while the primary dies", store="etcd")
def compaction(scene):
    lose_primary(scene, scene.compact)


@row("the store is full while the primary dies, 2 s", store="etcd", within=10.0)
def quota(scene):
    primary = scene.primary
    scene.mark()
    scene.alarm("ACTIVATE")
    scene.kill(primary)
    pause(2)
    scene.alarm("DEACTIVATE")
    scene.more(100)
    scene.restart(primary)


# --- the network: each unit, gateway and member of the store on a host of its own ------------------------------------

def cut(name, seconds, moves, words, gateways=(), **options):
    """WORDS: what `ldcctl fault` is told, then SECONDS, then all is whole again."""
    @row(name, hosts=True, moves=moves, within=5.0 + seconds, **options)
    def act(scene):
        told = words.replace("LEADER", scene.leader()) if "LEADER" in words else words
        scene.struck_gateways.update(gateways)
        scene.mark()
        for one in told.split(";"):
            scene.fault(*one.split())
        pause(seconds)
        scene.fault("heal")


ALL = ("gateway-1", "gateway-2", "gateway-3")
cut("nothing gets through to or from the unit, 3 s", 3, "must", "drop RZ01")
cut("nothing reaches the unit, 3 s", 3, "may", "drop RZ01 --way in")
cut("nothing that the unit says gets out, 3 s", 3, "must", "drop RZ01 --way out")
cut("primary and standby cannot hear each other, 3 s", 3, "never", "drop RZ01 --peer RZ02")
cut("the primary does not hear its standby, 3 s", 3, "never", "drop RZ01 --peer RZ02 --way in")
cut("the standby does not hear its primary, 3 s", 3, "never", "drop RZ01 --peer RZ02 --way out")
cut("a gateway and the unit cannot hear each other, 3 s", 3, "never", "drop gateway-1 --peer RZ01", gateways=["gateway-1"])
cut("all gateways and the unit cannot hear each other, 2 s", 2, "never",  # consumers of whom nobody hears for 3 s are replaced
    ";".join(f"drop {gateway} --peer RZ01" for gateway in ALL))
cut("nothing reaches a gateway, 3 s", 3, "never", "drop gateway-1 --way in", gateways=["gateway-1"])
cut("nothing that a gateway says gets out, 3 s", 3, "never", "drop gateway-1 --way out", gateways=["gateway-1"])
cut("two gateways cannot hear each other, 3 s", 3, "never", "drop gateway-1 --peer gateway-2")
cut("1 % of what the unit sends and hears is lost, 5 s", 5, "may", "loss RZ01 --percent 1")
cut("10 % of what the unit sends and hears is lost, 5 s", 5, "may", "loss RZ01 --percent 10")
cut("the unit and the store's leader are cut off, 3 s", 3, "must", "drop RZ01;drop LEADER", store="etcd")


@row("cut from its standby, then the primary dies", hosts=True)
def cut_and_kill(scene):
    """What it cannot tell its standby it does not acknowledge."""
    primary = scene.primary
    scene.fault("drop", "RZ01", "--peer", "RZ02")
    pause(0.03)
    scene.mark()
    scene.kill(primary)
    scene.fault("heal")
    scene.more(100)
    scene.restart(primary)
