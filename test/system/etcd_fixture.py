# SPDX-License-Identifier: Apache-2.0
"""Real etcd members on free ports, and their JSON gateway as an operator would use it."""
import base64
import http.client
import json
import os
import ssl
import subprocess
import urllib.request

import harness
from harness import wait_until


class Cluster:
    """Members of one etcd, kept by STACK. TLS: they speak https to clients and ask for certificates. BEAT_MS and ELECTION_MS:
    how often the leader is heard, and when it is missed. FLAGS: further ones of etcd."""

    def __init__(self, stack, size=3, tls=None, beat_ms=100, election_ms=1000, flags=()):
        self.stack, self.tls, self.token = stack, tls, None
        self.flags = ["--heartbeat-interval", beat_ms, "--election-timeout", election_ms, *flags]
        self.ports = [harness.free_port() for _ in range(size)]
        peers = [f"http://127.0.0.1:{harness.free_port()}" for _ in range(size)]
        named = ",".join(f"etcd-{i}={url}" for i, url in enumerate(peers))
        self.members = [stack.keep(harness.Process(f"etcd-{i}", self._argv(i, peers[i], named), stack.log(f"etcd-{i}")))
                        for i in range(size)]
        for i in range(size):
            self.wait_for(i)

    def _argv(self, i, peer, named):
        client = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.ports[i]}"
        argv = ["etcd", "--name", f"etcd-{i}", "--data-dir", self.stack.folder / f"etcd-{i}.data",
                "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
                "--initial-advertise-peer-urls", peer, "--initial-cluster", named,
                *self.flags]
        if self.tls:
            argv += ["--cert-file", self.tls.path("server.crt"), "--key-file", self.tls.path("server.key"),
                     "--trusted-ca-file", self.tls.path("ca.crt"), "--client-cert-auth"]
        return argv

    @property
    def location(self):
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"etcd:{'https' if self.tls else 'http'}://{hosts}/test"

    def options(self, **more):
        """For Stack.gateway and Stack.agent."""
        options = {"store__location": self.location}
        if self.tls:
            options.update(store__ca_file=self.tls.path("ca.crt"), store__certificate=self.tls.path("client.crt"),
                           store__key=self.tls.path("client.key"))
        return dict(options, **more)

    def call(self, path, body=None, i=0, timeout=30.0):
        """(status, answer) of member I."""
        if self.tls:
            context = ssl.create_default_context(cafile=self.tls.path("ca.crt"))
            context.load_cert_chain(self.tls.path("client.crt"), self.tls.path("client.key"))
            connection = http.client.HTTPSConnection("127.0.0.1", self.ports[i], timeout=timeout, context=context)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.ports[i], timeout=timeout)
        headers = {"Authorization": self.token} if self.token else {}
        try:
            connection.request("POST", path, json.dumps(body or {}), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def must(self, path, body=None, i=0):
        status, answer = self.call(path, body, i)
        if status != 200:
            raise AssertionError(f"{path}: {status} {answer}")
        return answer

    def status(self, i):
        try:
            return self.call("/v3/maintenance/status", i=i, timeout=2.0)[1]
        except (OSError, ValueError, http.client.HTTPException):
            return {}

    def wait_for(self, i):
        wait_until(lambda: int(self.status(i).get("leader", 0)) != 0, what=f"member {i} to know a leader", timeout=60)

    def leader(self):
        """The index of the member that leads; waits until there is one among the living."""
        def find():
            for i, member in enumerate(self.members):
                status = self.status(i) if member.alive() else {}
                if status.get("leader") and status["leader"] == status["header"]["member_id"]:
                    return i + 1
            return 0
        return wait_until(find, what="a leader") - 1

    def restart(self, i):
        self.members[i].start()

    def fill(self, megabytes=40):
        """Puts that much, or as far as the quota lets: what is put is counted a moment later."""
        value = base64.b64encode(os.urandom(1 << 20)).decode()
        for _ in range(megabytes):
            if self.call("/v3/kv/put", {"key": base64.b64encode(b"/filler").decode(), "value": value})[0] != 200:
                return

    def asked(self, i):
        """How many reads member I has answered."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[i]}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines
                   if line.startswith("grpc_server_handled_total") and 'grpc_code="OK"' in line and '"Range"' in line)

    def start_over(self, snapshot):
        """All members go, and come back with what SNAPSHOT holds."""
        for i, member in enumerate(self.members):
            member.kill()
            folder = self.stack.folder / f"etcd-{i}.data"
            folder.rename(folder.with_suffix(".lost"))
            words = [str(word) for word in member.argv]
            initial = [word for flag in ("--name", "--data-dir", "--initial-cluster", "--initial-advertise-peer-urls")
                       for word in (flag, words[words.index(flag) + 1])]
            subprocess.run(["etcdctl", "snapshot", "restore", snapshot, *initial], check=True, capture_output=True,
                           env=dict(os.environ, ETCDCTL_API="3"))
        for i in range(len(self.members)):
            self.restart(i)
        for i in range(len(self.members)):
            self.wait_for(i)

    def snapshot(self):
        """A file with all that the members hold."""
        path, login = self.stack.folder / "snapshot.db", ["--user", "root:root-word"] if self.token else []
        subprocess.run(["etcdctl", *login, "--endpoints", f"127.0.0.1:{self.ports[0]}", "--command-timeout", "60s", "snapshot", "save", path],
                       check=True, capture_output=True, env=dict(os.environ, ETCDCTL_API="3"))
        return path

    def revision(self, i=0):
        key = base64.b64encode(b"x").decode()
        return int(self.must("/v3/kv/range", {"key": key}, i)["header"]["revision"])

    def compact(self, i=0):
        self.must("/v3/kv/compaction", {"revision": str(self.revision(i)), "physical": True}, i)

    def switch_auth_on(self, user, password):
        """A user ROOT as etcd wants it, and USER, who may do everything under /test/."""
        begin, end = (base64.b64encode(key).decode() for key in (b"/test/", b"/test0"))
        self.must("/v3/auth/role/add", {"name": "root"})
        self.must("/v3/auth/user/add", {"name": "root", "password": "root-word"})
        self.must("/v3/auth/user/grant", {"user": "root", "role": "root"})
        self.must("/v3/auth/role/add", {"name": "gateways"})
        self.must("/v3/auth/role/grant", {"name": "gateways", "perm": {"permType": "READWRITE", "key": begin, "range_end": end}})
        self.must("/v3/auth/user/add", {"name": user, "password": password})
        self.must("/v3/auth/user/grant", {"user": user, "role": "gateways"})
        self.must("/v3/auth/enable")
        self.token = self.must("/v3/auth/authenticate", {"name": "root", "password": "root-word"})["token"]


class Authority:
    """A certificate authority in FOLDER, a server's certificate for 127.0.0.1 and a client's without a common name."""

    def __init__(self, folder):
        self.folder = folder
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                      "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test authority")
        self._sign("server", "/CN=server", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
        self._sign("client", "/O=ldcgate", "extendedKeyUsage=clientAuth\n")

    def path(self, name):
        return str(self.folder / name)

    def _sign(self, name, subject, extensions):
        (self.folder / f"{name}.ext").write_text(extensions)
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key",
                      "-out", f"{name}.csr", "-subj", subject)
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days",
                      "2", "-out", f"{name}.crt", "-extfile", f"{name}.ext")

    def _openssl(self, *words):
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)
