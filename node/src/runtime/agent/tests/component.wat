;; An agent in component-model text. `{{...}}` is filled in by `guest.rs`.
;;
;; Two core modules: a room with the memory and its allocator, which the imports need before anything else, and the
;; agent proper, whose functions' bodies are the test's.
(component $agent
  (import "parlor:agent/types@0.1.0" (instance $types
    (type $member' (record (field "addr" string) (field "name" string) (field "is-host" bool)))
    (export "member" (type $member (eq $member')))
    (type $content' (record
      (field "payload" string)
      (field "info" (option string))
      (field "document" (option string))
      (field "summary" (option string))))
    (export "content" (type $content (eq $content')))
    (type $update' (record
      (field "serial" u64) (field "sender" string) (field "is-own" bool) (field "content" $content)))
    (export "update" (type $update (eq $update')))))
  (alias export $types "member" (type $member))
  (alias export $types "content" (type $content))
  (alias export $types "update" (type $update))

  (import "parlor:agent/group@0.1.0" (instance $group
    (alias outer $agent $content (type $content'))
    (export "content" (type $content (eq $content')))
    (type $error' (variant
      (case "too-large" u64) (case "full") (case "too-fast") (case "closed") (case "malformed")))
    (export "error" (type $error (eq $error')))
    (export "send" (func (param "message" (list u8)) (result (result (error $error)))))
    (export "post" (func (param "content" $content) (result (result (error $error)))))))
  (import "parlor:agent/store@0.1.0" (instance $store
    (type $scope' (enum "session" "user"))
    (export "scope" (type $scope (eq $scope')))
    (type $error' (enum "full" "too-large" "failed"))
    (export "error" (type $error (eq $error')))
    (export "get" (func
      (param "scope" $scope) (param "key" string) (result (result (option (list u8)) (error $error)))))
    (export "set" (func
      (param "scope" $scope) (param "key" string) (param "value" (list u8))
      (result (result (error $error)))))))
  (import "parlor:agent/files@0.1.0" (instance $files
    (type $entry' (record (field "path" string) (field "size" u64)))
    (export "entry" (type $entry (eq $entry')))
    (export "read" (func
      (param "path" string) (param "offset" u64) (param "length" u32) (result (option (list u8)))))))
  (alias export $files "entry" (type $entry))
  (import "parlor:agent/packs@0.1.0" (instance $packs
    (alias outer $agent $entry (type $entry'))
    (export "entry" (type $entry (eq $entry')))
    (type $pack' (record
      (field "id" string)
      (field "name" string)
      (field "version" string)
      (field "origin" (option string))
      (field "levels" (option (tuple u32 u32)))))
    (export "pack" (type $pack (eq $pack')))
    (export "all" (func (result (list $pack))))
    (export "files" (func (param "pack" string) (result (list $entry))))
    (export "read" (func
      (param "pack" string) (param "path" string) (param "offset" u64) (param "length" u32)
      (result (option (list u8)))))))
  (import "parlor:agent/output@0.1.0" (instance $output
    (export "line" (func (param "text" string)))))
  {{imports}}

  (core module $room
    (memory (export "memory") 2)
    (global $next (mut i32) (i32.const 65536))
    ;; Gives memory and never takes it back.
    (func (export "realloc") (param i32 i32 i32) (param $size i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get $size)))
      (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
        (then (if
          (i32.eq (i32.const -1)
            (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get $size) (i32.const 16)))))
          (then unreachable))))
      (local.get $at)))
  (core instance $room (instantiate $room))
  (alias core export $room "memory" (core memory $memory))
  (alias core export $room "realloc" (core func $realloc))

  (core func $line (canon lower (func $output "line") (memory $memory) (realloc $realloc)))
  (core func $send (canon lower (func $group "send") (memory $memory) (realloc $realloc)))
  (core func $post (canon lower (func $group "post") (memory $memory) (realloc $realloc)))
  (core func $get (canon lower (func $store "get") (memory $memory) (realloc $realloc)))
  (core func $set (canon lower (func $store "set") (memory $memory) (realloc $realloc)))
  (core func $read (canon lower (func $files "read") (memory $memory) (realloc $realloc)))
  (core func $packs (canon lower (func $packs "all") (memory $memory) (realloc $realloc)))
  (core func $pack-files (canon lower (func $packs "files") (memory $memory) (realloc $realloc)))
  (core func $pack-read (canon lower (func $packs "read") (memory $memory) (realloc $realloc)))
  {{lowered}}

  ;; Addresses: 0 answers of the agent's own, 64 answers of the imports, 128 for `$tell`, from 1024 the test's.
  (core module $agent
    (import "room" "memory" (memory 0))
    (import "host" "line" (func $line (param $text i32) (param $length i32)))
    (import "host" "send" (func $send (param $message i32) (param $length i32) (param $answer i32)))
    (import "host" "post" (func $post (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    (import "host" "get" (func $get (param $scope i32) (param $key i32) (param $length i32) (param $answer i32)))
    (import "host" "set" (func $set (param $scope i32) (param i32 i32) (param i32 i32) (param $answer i32)))
    (import "host" "read" (func $read (param i32 i32) (param i64 i32) (param $answer i32)))
    ;; A pack takes 48 bytes: id 0, name 8, version 16, origin 24 (28), levels 36 (40, 44). A file takes 16.
    (import "host" "packs" (func $packs (param $answer i32)))
    (import "host" "pack-files" (func $pack-files (param $pack i32) (param $length i32) (param $answer i32)))
    (import "host" "pack-read"
      (func $pack-read (param $pack i32) (param i32) (param i32 i32) (param i64 i32) (param $answer i32)))
    {{core-imports}}
    {{extra}}
    ;; Writes a line of one digit.
    (func $tell (param $digit i32)
      (i32.store8 (i32.const 128) (i32.add (i32.const 48) (local.get $digit)))
      (call $line (i32.const 128) (i32.const 1)))
    ;; Posts what lies at `$at`, and returns whether that was refused; then why is the byte at 72.
    (func $say (param $at i32) (param $length i32) (result i32)
      (call $post (local.get $at) (local.get $length)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64))
      (i32.load8_u (i32.const 64)))
    (func (export "setup") (result i32) {{setup}})
    (func (export "start") (param $some i32) (param $state i32) (param $length i32) {{start}})
    (func (export "message") (param i32 i32) (param $message i32) (param $length i32) {{message}})
    (func (export "update")
      (param $serial i64) (param i32 i32) (param $own i32) (param $payload i32) (param $length i32)
      (param i32 i32 i32 i32 i32 i32 i32 i32 i32) {{update}})
    (func (export "input") (param $text i32) (param $length i32) {{input}})
    (func (export "page") (param $json i32) (param $length i32) {{page}})
    (func (export "tick") {{tick}})
    (func (export "members") (param $members i32) (param $count i32) {{members}})
    (func (export "suspend") (result i32) {{suspend}})
    (func (export "end") {{end}}))
  (core instance $core (instantiate $agent
    (with "room" (instance $room))
    (with "host" (instance
      (export "line" (func $line))
      (export "send" (func $send))
      (export "post" (func $post))
      (export "get" (func $get))
      (export "set" (func $set))
      (export "read" (func $read))
      (export "packs" (func $packs))
      (export "pack-files" (func $pack-files))
      (export "pack-read" (func $pack-read))
      {{given}}))))

  (type $readiness (enum "ready" "go-on"))
  (func $setup (result (result $readiness (error string)))
    (canon lift (core func $core "setup") (memory $memory)))
  (func $start (param "state" (option (list u8)))
    (canon lift (core func $core "start") (memory $memory) (realloc $realloc)))
  (func $message (param "sender" string) (param "message" (list u8))
    (canon lift (core func $core "message") (memory $memory) (realloc $realloc)))
  (func $update (param "update" $update)
    (canon lift (core func $core "update") (memory $memory) (realloc $realloc)))
  (func $input (param "text" string)
    (canon lift (core func $core "input") (memory $memory) (realloc $realloc)))
  (func $page (param "json" string)
    (canon lift (core func $core "page") (memory $memory) (realloc $realloc)))
  (func $tick (canon lift (core func $core "tick")))
  (func $members (param "members" (list $member))
    (canon lift (core func $core "members") (memory $memory) (realloc $realloc)))
  (func $suspend (result (list u8)) (canon lift (core func $core "suspend") (memory $memory)))
  (func $end (canon lift (core func $core "end")))
  (instance $events
    (export "readiness" (type $readiness))
    (export "setup" (func $setup))
    (export "start" (func $start))
    (export "message" (func $message))
    (export "update" (func $update))
    (export "input" (func $input))
    (export "page" (func $page))
    (export "tick" (func $tick))
    (export "members" (func $members))
    (export "suspend" (func $suspend))
    (export "end" (func $end)))
  (export "parlor:agent/events@0.1.0" (instance $events)))
