# SPDX-License-Identifier: Apache-2.0
"""The rows of the matrix: what is done to a deployment. A row ends when all that it broke is mended again."""
import collections
import threading

from harness import wait_until

Row = collections.namedtuple("Row", "name act store hosts moves within")
ROWS = []


def row(name, store="dir", hosts=False, moves="must", within=5.0):
    """MOVES: whether the unit that is struck must, may or must never fail over. WITHIN: the first acknowledgement, in
    seconds; loose, for the machine may be busy."""
    def add(act):
        ROWS.append(Row(name, act, store, hosts, moves, within))
        return act
    return add


def pause(seconds):
    """How long a fault lasts; nothing is waited for."""
    threading.Event().wait(seconds)


# --- brokers that die ------------------------------------------------------------------------------------------------

@row("kill -9 of the primary")
def kill(scene):
    primary = scene.primary
    scene.mark()
    scene.kill(primary)
    scene.more(100)
    scene.restart(primary)


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
    primary, gateways = scene.primary, scene.of(role="gateway")
    scene.struck_gateways.update(gateways)
    scene.mark()
    scene.freeze(*gateways)
    scene.kill(primary)
    spoil(primary)
    scene.restart(primary)
    pause(2)
    scene.thaw(*gateways)


@row("empty while gateways stand still")
def empty_unseen(scene):
    while_gateways_sleep(scene, scene.empty_data)


@row("old copy while gateways stand still")
def old_unseen(scene):
    """The copy is older than the record."""
    standby = scene.standby
    scene.copy_data(scene.primary)
    scene.kill(standby)
    wait_until(lambda: not scene.is_whole(), 30, "the standby to be struck off")
    scene.restart(standby)
    wait_until(scene.is_whole, 30, "the standby to be back")
    scene.more(100)
    while_gateways_sleep(scene, scene.restore_data)


@row("kill -9 of the standby", moves="never")
def kill_standby(scene):
    standby = scene.standby
    scene.mark()
    scene.kill(standby)
    scene.more(100)
    scene.restart(standby)


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


# --- at the worst moment ---------------------------------------------------------------------------------------------

@row("a set grows behind a gateway's back, then the primary dies")
def grow_unseen(scene):
    """A gateway sleeps with the last record that lets it acknowledge alone, its payers waiting. The standby joins, and
    the keeper stands still the moment that the store has it. When the gateway wakes, the standby does not hear of what
    it does, and then has to lead."""
    primary, standby, sleeper, keeper = scene.primary, scene.standby, "gateway-2", scene.of(role="agent", unit="RZ01")[0]
    scene.struck_gateways.add(sleeper)
    scene.kill(standby)
    wait_until(lambda: not scene.is_whole(), 30, "the standby to be struck off")
    scene.crowd(sleeper)
    scene.harm(keeper, members=2)
    scene.restart(standby)
    put_to_sleep(scene, sleeper, lambda: scene.is_stopped(keeper))
    scene.mute(primary)
    scene.thaw(sleeper)
    pause(0.05)
    scene.mark()
    scene.kill(primary)
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
