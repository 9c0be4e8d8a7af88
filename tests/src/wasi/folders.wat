;; What a program asks for the folders that are open to it.
(import "wasi:filesystem/types@0.2.0" (instance $types' (export "descriptor" (type (sub resource)))))
(alias export $types' "descriptor" (type $descriptor))
(import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (alias outer $agent $descriptor (type $d))
    (export "descriptor" (type $descriptor' (eq $d)))
    (export "get-directories" (func (result (list (tuple (own $descriptor') string)))))))
