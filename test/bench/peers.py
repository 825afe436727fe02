# SPDX-License-Identifier: Apache-2.0
"""What the bench runs beside the gateway, and the load it puts on all of them: configurations and load scripts.

The peers add the same header fields as the gateway does, or their nearest equivalents, both ways; logs are off,
connections to the backend are kept, one thread each.
"""

BODY = "x" * 256

BACKEND = """
worker_processes 1; daemon off; pid {dir}/backend.pid; error_log {dir}/backend.err;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 600s;
  server {{ listen 127.0.0.1:{port};
    location / {{ default_type text/plain; return 200 "hello from the unit, {pad}\\n"; }} }} }}
"""

NGINX = """
worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log {dir}/nginx.err;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 600s;
  upstream app {{ server 127.0.0.1:{backend}; keepalive 128; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port};
    location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header Forwarded "for=$remote_addr;host=$http_host;proto=$scheme"; proxy_set_header Via "1.1 nginx";
      proxy_set_header LDC-Unit RZ01; proxy_set_header LDC-Slot 42; proxy_set_header LDC-Color blue;
      proxy_set_header LDC-Epoch 1; proxy_set_header traceparent "00-$request_id-0123456789abcdef-00";
      add_header via "1.1 nginx"; add_header ldc-epoch 1; add_header ldc-unit RZ01; add_header ldc-color blue; }} }} }}
"""

HAPROXY = """
global
  nbthread 1
  maxconn 4096
defaults
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
frontend http_in
  mode http
  bind 127.0.0.1:{port}
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header Forwarded "for=%[src];host=%[req.hdr(host)];proto=http"
  http-request set-header Via "1.1 haproxy"
  http-request set-header LDC-Unit RZ01
  http-request set-header LDC-Slot 42
  http-request set-header LDC-Color blue
  http-request set-header LDC-Epoch 1
  http-request set-header traceparent "00-%[rand(1000000000),hex]%[rand(1000000000),hex]-%[rand(1000000000),hex]-00"
  http-response set-header via "1.1 haproxy"
  http-response set-header ldc-epoch 1
  http-response set-header ldc-unit RZ01
  http-response set-header ldc-color blue
  default_backend app_http
backend app_http
  mode http
  http-reuse always
  server app 127.0.0.1:{backend} pool-max-conn 256
frontend tcp_in
  mode tcp
  bind 127.0.0.1:{tcp_port}
  default_backend app_tcp
backend app_tcp
  mode tcp
  server app 127.0.0.1:{backend}
"""

DONE = """
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %f %d\\n", summary.requests, latency:percentile(50), latency:percentile(99),
    summary.requests / summary.duration * 1e6, e.connect + e.read + e.write + e.status + e.timeout))
end
"""

PROXY_LOAD = """
local n = 0
function request()
  n = n + 1
  return "GET /echo/x HTTP/1.1\\r\\nHost: app.test\\r\\nUser-Agent: bench\\r\\nAccept: */*\\r\\nX-User-Id: " ..
    (n % 100000) .. "\\r\\n\\r\\n"
end
""" + DONE

QUEUE_LOAD = f"""
local n, body = 0, "{BODY}"
function request()
  n = n + 1
  return "POST /pay/1 HTTP/1.1\\r\\nHost: app.test\\r\\nContent-Type: application/json\\r\\nX-User-Id: " .. (n % 100000) ..
    "\\r\\nContent-Length: " .. #body .. "\\r\\n\\r\\n" .. body
end
""" + DONE



def batch_load(count):
    """The same body in each request: COUNT CloudEvents, each of another user, with QUEUE_LOAD's body as data."""
    return f"""
local events = {{}}
for n = 1, {count} do
  events[n] = '{{"specversion":"1.0","id":"' .. n .. '","source":"/bench","type":"paid","subject":"' .. n .. '","data":"{BODY}"}}'
end
local body = "[" .. table.concat(events, ",") .. "]"
local text = "POST /pay/1 HTTP/1.1\\r\\nHost: app.test\\r\\nContent-Type: application/cloudevents-batch+json\\r\\n" ..
  "Content-Length: " .. #body .. "\\r\\n\\r\\n" .. body
function request()
  return text
end
""" + DONE


# The fields of the gateway's envelope, so that broker and wire carry the same bytes.
_ENVELOPE = ("/slot/42/epoch/1/in_us/1700000000000000/color/blue/method/POST/path/%2Fpay%2F1/headers/content-type%3A%20"
             "application%2Fjson%0Ax-user-id%3A%20123456%0Atraceparent%3A%2000-0123456789abcdef0123456789abcdef-"
             "0123456789abcdef-00/body/" + BODY)



def message_fields(identity, user):
    """The ten values of the envelope, as QUEUE_LOAD's requests leave them."""
    headers = ("host: app.test\ncontent-type: application/json\nx-user-id: 123456\n"
               "traceparent: 00-0123456789abcdef0123456789abcdef-0123456789abcdef-00")
    return [identity, user, "42", "1", "1700000000000000", "blue", "POST", "/pay/1", headers, BODY]


WEBDIS_LOAD = f"""
local n, tail = 0, "{_ENVELOPE}"
function request()
  n = n + 1
  local user = n % 100000
  local body = "XADD/ldc:{{W%2Fpayments%2F" .. (user % 16) .. "}}:stream/*/id/RZ01.payments.1.0123456789abcdef01234567/user/"
    .. user .. tail
  return "POST / HTTP/1.1\\r\\nHost: app.test\\r\\nContent-Type: application/json\\r\\nX-User-Id: " .. user ..
    "\\r\\nContent-Length: " .. #body .. "\\r\\n\\r\\n" .. body
end
""" + DONE


def webdis(port, broker_port, log):
    """One thread, with as many connections to the broker as it has by default a worker."""
    return {"redis_host": "127.0.0.1", "redis_port": broker_port, "http_host": "127.0.0.1", "http_port": port,
            "threads": 1, "pool_size": 20, "daemonize": False, "websockets": False, "http_max_request_size": 1 << 20,
            "verbosity": 0, "logfile": log, "acl": [{"enabled": ["*"]}]}
