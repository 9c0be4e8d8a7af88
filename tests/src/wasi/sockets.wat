;; What a program asks for a socket; PROTOCOL is tcp or udp.
(import "wasi:sockets/network@0.2.0" (instance $network
    (type $error' (enum
        "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
        "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit"
        "address-not-bindable" "address-in-use" "remote-unreachable" "connection-refused"
        "connection-reset" "connection-aborted" "datagram-too-large" "name-unresolvable"
        "temporary-resolver-failure" "permanent-resolver-failure"))
    (export "error-code" (type (eq $error')))
    (type $family' (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type (eq $family')))))
(alias export $network "error-code" (type $error-code))
(alias export $network "ip-address-family" (type $family))
(import "wasi:sockets/PROTOCOL@0.2.0" (instance $protocol (export "PROTOCOL-socket" (type (sub resource)))))
(alias export $protocol "PROTOCOL-socket" (type $socket))
(import "wasi:sockets/PROTOCOL-create-socket@0.2.0" (instance $create
    (alias outer $agent $error-code (type $error'))
    (export "error-code" (type $error (eq $error')))
    (alias outer $agent $family (type $family'))
    (export "ip-address-family" (type $ip (eq $family')))
    (alias outer $agent $socket (type $socket'))
    (export "PROTOCOL-socket" (type $made (eq $socket')))
    (export "create-PROTOCOL-socket" (func
        (param "address-family" $ip) (result (result (own $made) (error $error)))))))
