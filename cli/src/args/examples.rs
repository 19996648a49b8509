//! The examples under each `--help`.

pub(super) const KITTYCTL: &str = "\
Examples:
  kittyctl status
  kittyctl target list --platform process
  kittyctl unleash delay --target process/web-1/nginx --duration 2s
  kittyctl --server http://127.0.0.1:8080 halt --reason 'pager went off'

Exit codes:
  0  done
  1  the server or an agent refused or failed, or an action did not end well
  2  wrong usage
  3  an awaited experiment ended FAILED
  4  the server can not be reached
  6  a fault could not be put back, and waits for a person (STUCK)
  130  interrupted, and what was begun is put back";

pub(super) const STATUS: &str = "\
Examples:
  kittyctl status
  kittyctl status -o json | jq .halted";

pub(super) const AGENT: &str = "\
Examples:
  kittyctl agent list";

pub(super) const AGENT_LIST: &str = "\
Examples:
  kittyctl agent list
  kittyctl agent list -o name";

pub(super) const TARGET: &str = "\
Examples:
  kittyctl target list --group nginx";

pub(super) const TARGET_LIST: &str = "\
Examples:
  kittyctl target list
  kittyctl target list --platform process --group nginx
  kittyctl target list --platform WorkerPlatform -o name";

pub(super) const PLATFORM: &str = "\
Examples:
  kittyctl platform list";

pub(super) const PLATFORM_LIST: &str = "\
Examples:
  kittyctl platform list
  kittyctl platform list -o yaml";

pub(super) const UNLEASH: &str = "\
Examples:
  kittyctl unleash delay  --target process/web-1/nginx --duration 2s
  kittyctl unleash kill   --group nginx --count 1 --signal TERM
  kittyctl unleash memory --group nginx --percent 30 --size 256MiB --hold 10s
  kittyctl unleash cpu    --target host/web-1 --cores 2 --load 80 --duration 30s";

pub(super) const UNLEASH_DELAY: &str = "\
Examples:
  kittyctl unleash delay --target process/web-1/nginx --duration 2s
  kittyctl unleash delay --group billing --platform worker --requests --per-request 200ms --duration 30s";

pub(super) const UNLEASH_KILL: &str = "\
Examples:
  kittyctl unleash kill --group nginx --count 1 --signal TERM
  kittyctl unleash kill --target process/web-1/redis-server --signal KILL --tree
  kittyctl unleash kill --target docker/web-1/mongo-1 --through-runtime";

pub(super) const UNLEASH_RESTART: &str = "\
Examples:
  kittyctl unleash restart --target docker/web-1/mongo-1
  kittyctl unleash restart --group nginx --platform systemd";

pub(super) const UNLEASH_STOP: &str = "\
Examples:
  kittyctl unleash stop --target systemd/web-1/nginx.service --duration 30s
  kittyctl unleash stop --group mongo --platform docker --duration 1m --kill";

pub(super) const UNLEASH_SCALE: &str = "\
Examples:
  kittyctl unleash scale --group till --platform kubernetes --replicas 1 --duration 1m";

pub(super) const UNLEASH_MEMORY: &str = "\
Examples:
  kittyctl unleash memory --group nginx --percent 30 --size 256MiB --hold 10s
  kittyctl unleash memory --target host/web-1 --size 2GiB --duration 1m";

pub(super) const UNLEASH_CPU: &str = "\
Examples:
  kittyctl unleash cpu --target host/web-1 --cores 2 --load 80 --duration 30s
  kittyctl unleash cpu --group nginx --load 50 --duration PT1M";

pub(super) const UNLEASH_GC: &str = "\
Examples:
  kittyctl unleash gc --group billing-jvm
  kittyctl unleash gc --target billing-1";

pub(super) const UNLEASH_ERROR: &str = "\
Examples:
  kittyctl unleash error --group billing --message boom --probability 0.2 --duration 30s
  kittyctl unleash error --target billing-1 --times 3 --point checkout --duration 1m";

pub(super) const UNLEASH_SCRIPT: &str = "\
Examples:
  kittyctl unleash script --group nginx cpuBurn.sh --duration 60s
  kittyctl unleash script --target host/web-1 cpuBurn.sh --duration 60s -- 2";

pub(super) const ACTION: &str = "\
Examples:
  kittyctl action list --active
  kittyctl action stop 01999b5e-6a5f-7c63-a0a4-3f1d7c1f2b11";

pub(super) const ACTION_LIST: &str = "\
Examples:
  kittyctl action list
  kittyctl action list --active -o name
  kittyctl action list --target worker/web-1/billing-1 --limit 10";

pub(super) const ACTION_GET: &str = "\
Examples:
  kittyctl action get 01999b5e-6a5f-7c63-a0a4-3f1d7c1f2b11
  kittyctl action get 01999b5e-6a5f-7c63-a0a4-3f1d7c1f2b11 -o json";

pub(super) const ACTION_STOP: &str = "\
Examples:
  kittyctl action stop 01999b5e-6a5f-7c63-a0a4-3f1d7c1f2b11
  kittyctl action list --active -o name | xargs -n 1 kittyctl action stop";

pub(super) const HALT: &str = "\
Examples:
  kittyctl halt
  kittyctl halt --reason 'pager went off' -o json";

pub(super) const RESUME: &str = "\
Examples:
  kittyctl resume";

pub(super) const OPERATION: &str = "\
Examples:
  kittyctl operation put hairball --interval 30s --probability 0.3 --min-delay 500ms --max-delay 5s
  kittyctl operation list
  kittyctl operation delete hairball";

pub(super) const OPERATION_PUT: &str = "\
Examples:
  kittyctl operation put hairball --interval 30s --probability 0.3 --min-delay 500ms --max-delay 5s
  kittyctl operation put scratch --signal KILL --group nginx --platform process
  kittyctl operation put rush-hour --kind zoomies --interval 10s --max-duration 2s --seed 7
  kittyctl operation put yowl --message 'disk on fire' --message 'cat on keyboard'";

pub(super) const OPERATION_LIST: &str = "\
Examples:
  kittyctl operation list
  kittyctl operation list -o yaml";

pub(super) const OPERATION_DELETE: &str = "\
Examples:
  kittyctl operation delete hairball";

pub(super) const EXPERIMENT: &str = "\
Examples:
  kittyctl experiment methods --platform process
  kittyctl experiment build -f crit.json --dry-run
  kittyctl experiment build -f crit.json --wait
  kittyctl experiment history";

pub(super) const EXPERIMENT_BUILD: &str = "\
Examples:
  kittyctl experiment build -f crit.json
  kittyctl experiment build -f crit.json --dry-run --seed 7
  kittyctl experiment build -f crit.json --wait
  cat crit.json | kittyctl experiment build -f -

A document:
  {
    \"platformType\": \"ProcessPlatform\",
    \"experimentCriteria\": [
      {
        \"containerIdentifier\": \"nginx\",
        \"experimentMethods\": [\"delay\", \"spinCpu\"],
        \"specificContainerTargets\": [\"nginx:4711\"]
      }
    ]
  }
The first target gets the first method, and so on; what is left over goes to random targets of the
group, of which one at least is left alone.";

pub(super) const EXPERIMENT_LIST: &str = "\
Examples:
  kittyctl experiment list
  kittyctl experiment list --all --limit 20
  kittyctl experiment list -o name";

pub(super) const EXPERIMENT_GET: &str = "\
Examples:
  kittyctl experiment get 01999b5e-6a5f-7c63-a0a4-3f1d7c1f2b11
  kittyctl experiment get 01999b5e-6a5f-7c63-a0a4-3f1d7c1f2b11 -o yaml";

pub(super) const EXPERIMENT_WATCH: &str = "\
Examples:
  kittyctl experiment watch 01999b5e-6a5f-7c63-a0a4-3f1d7c1f2b11
  kittyctl experiment watch 01999b5e-6a5f-7c63-a0a4-3f1d7c1f2b11 -o json | jq -r .experimentState";

pub(super) const EXPERIMENT_START: &str = "\
Examples:
  kittyctl experiment start
  kittyctl experiment start --target process/web-1/nginx:4711 --wait";

pub(super) const EXPERIMENT_STOP: &str = "\
Examples:
  kittyctl experiment stop 01999b5e-6a5f-7c63-a0a4-3f1d7c1f2b11
  kittyctl experiment list -o name | xargs -n 1 kittyctl experiment stop";

pub(super) const EXPERIMENT_METHODS: &str = "\
Examples:
  kittyctl experiment methods
  kittyctl experiment methods --platform process -o name";

pub(super) const EXPERIMENT_HISTORY: &str = "\
Examples:
  kittyctl experiment history
  kittyctl experiment history --limit 1 -o json | jq '.[]' | kittyctl experiment build -f -";

pub(super) const EXPERIMENT_REPLAY: &str = "\
Examples:
  kittyctl experiment replay 2026-05-04T12:55:31.139495Z
  kittyctl experiment replay 2026-05-04T12:55:31.139495Z --same --dry-run
  kittyctl experiment replay 2026-05-04T12:55:31.139495Z --same --wait";

pub(super) const EXPERIMENT_RECORD: &str = "\
Examples:
  kittyctl experiment record 2026-05-04T12:55:31.139495Z
  kittyctl experiment record 2026-05-04T12:55:31.139495Z -o json";

pub(super) const EXPERIMENT_DIFF: &str = "\
Examples:
  kittyctl experiment diff 2026-05-04T12:55:31.139495Z 2026-05-05T12:55:31.201774Z
  kittyctl experiment diff 2026-05-04T12:55:31.139495Z 2026-05-05T12:55:31.201774Z -o json | jq .identical";

pub(super) const SCRIPT: &str = "\
Examples:
  kittyctl script list
  kittyctl script show cpuBurn.sh";

pub(super) const SCRIPT_LIST: &str = "\
Examples:
  kittyctl script list
  kittyctl script list -o name";

pub(super) const SCRIPT_SHOW: &str = "\
Examples:
  kittyctl script show cpuBurn.sh
  kittyctl script show cpuBurn.sh > mine.sh
  kittyctl script show cpuBurn.sh -o json | jq -r .healthCheck";

pub(super) const SCHEDULE: &str = "\
Examples:
  kittyctl schedule show
  kittyctl schedule on
  kittyctl schedule backoff 15m";

pub(super) const SCHEDULE_SHOW: &str = "\
Examples:
  kittyctl schedule show
  kittyctl schedule show -o json | jq .automated";

pub(super) const SCHEDULE_ON: &str = "\
Examples:
  kittyctl schedule on";

pub(super) const SCHEDULE_OFF: &str = "\
Examples:
  kittyctl schedule off";

pub(super) const SCHEDULE_BACKOFF: &str = "\
Examples:
  kittyctl schedule backoff 15m
  kittyctl schedule backoff PT1H";

pub(super) const ADMIN: &str = "\
Examples:
  kittyctl admin state
  kittyctl admin state DRAIN";

pub(super) const ADMIN_STATE: &str = "\
Examples:
  kittyctl admin state
  kittyctl admin state PAUSED
  kittyctl admin state STARTED
  kittyctl admin state -o name";

pub(super) const EVENT: &str = "\
Examples:
  kittyctl event watch";

pub(super) const EVENT_WATCH: &str = "\
Examples:
  kittyctl event watch
  kittyctl event watch --kind experiment --kind admin_state
  kittyctl event watch --kind action --kind halted
  kittyctl event watch -o json | jq -r .message";

pub(super) const TOP: &str = "\
Examples:
  kittyctl top
  kittyctl top > now.txt";

pub(super) const COMPLETION: &str = "\
Examples:
  kittyctl completion bash > /etc/bash_completion.d/kittyctl
  kittyctl completion zsh > ~/.zfunc/_kittyctl
  kittyctl completion fish > ~/.config/fish/completions/kittyctl.fish";

pub(super) const DEMO: &str = "\
Examples:
  cargo demo
  kittyctl demo
  kittyctl demo > demo.txt";
