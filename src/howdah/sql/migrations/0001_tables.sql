-- The tables. Frozen once released: a change is a new file with the next number.

create table howdah.migration (
  version    int primary key,
  name       text not null,
  applied_at timestamptz not null default clock_timestamp()
);
comment on table howdah.migration is 'Which numbered migrations this database has.';

create table howdah.installed (
  only_row boolean primary key default true check (only_row),
  version  text not null,
  digest   text not null,
  at       timestamptz not null default clock_timestamp()
);
comment on table howdah.installed is 'Which release of howdah put its functions, triggers and views here. One row.';
comment on column howdah.installed.digest is 'Hash of the SQL files; the same digest needs no work.';

create table howdah.kind (
  name         text primary key check (length(name) between 1 and 200),
  queue        text not null default 'default' check (length(queue) between 1 and 200),
  priority     int not null default 0,
  delay        interval not null default '0' check (delay >= '0'),
  max_attempts int not null default 6 check (max_attempts >= 1),
  max_lost     int not null default 3 check (max_lost >= 0),
  retry_delay  interval not null default '1 s' check (retry_delay >= '0'),
  retry_factor double precision not null default 2 check (retry_factor >= 1),
  retry_max    interval not null default '10 min' check (retry_max >= '0'),
  timeout      interval check (timeout > '0'),
  executor     text not null default 'loop' check (executor in ('loop', 'thread', 'process')),
  keep         interval default '7 days' check (keep >= '0'),
  signature    jsonb,
  description  text,
  updated_at   timestamptz not null default clock_timestamp()
);
comment on table howdah.kind is 'The registered names of handlers and their defaults, written by workers at start-up.';
comment on column howdah.kind.delay is 'How long a new task waits when its enqueue names no time.';
comment on column howdah.kind.max_attempts is 'Attempts of one step before the task is parked as failed.';
comment on column howdah.kind.max_lost is 'How many attempts may end without a word (a killed worker) before the task is parked.';
comment on column howdah.kind.timeout is 'Time limit of one attempt; NULL is none.';
comment on column howdah.kind.executor is 'Where the handler runs: on the event loop, in a thread, or in a process of its own.';
comment on column howdah.kind.keep is 'How long an ended task stays in howdah.archive; NULL: not at all.';
comment on column howdah.kind.signature is 'JSON Schema of the payload.';

create table howdah.queue (
  name      text primary key check (length(name) between 1 and 200),
  paused    boolean not null default false,
  paused_at timestamptz,
  paused_by text,
  reason    text,
  check (paused = (paused_at is not null))
);
comment on table howdah.queue is 'What is set for a queue. A queue without a row has the defaults: it is not paused.';

create table howdah.worker (
  id          uuid primary key,
  status      text not null default 'live' check (status in ('live', 'dead')),
  lease_until timestamptz not null,
  ttl         interval not null check (ttl > '0'),
  asleep      boolean not null default false,
  stop_at     timestamptz,
  host        text,
  pid         int,
  version     text,
  queues      jsonb,
  kinds       text[] not null default '{}',
  concurrency int not null default 1,
  started_at  timestamptz not null default clock_timestamp(),
  ended_at    timestamptz,
  check ((status = 'dead') = (ended_at is not null))
) with (fillfactor = 10, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
comment on table howdah.worker is 'One row per start of a worker process: its lease. The id is random and never comes back.';
comment on column howdah.worker.lease_until is 'Written and read with the clock of the database only.';
comment on column howdah.worker.asleep is 'It found nothing and waits: whoever enqueues now should notify.';
comment on column howdah.worker.stop_at is 'Asked to finish what it runs and exit.';
comment on column howdah.worker.queues is 'The queues it serves with their limits, as JSON; NULL: all.';

create table howdah.task (
  id            bigint generated always as identity primary key,
  kind          text not null check (length(kind) between 1 and 200),
  queue         text not null check (length(queue) between 1 and 200),
  status        text not null default 'queued',
  priority      int not null,
  run_at        timestamptz not null,
  step          text,
  step_no       int not null default 0,
  payload       jsonb not null default '{}',
  key           text check (length(key) between 1 and 500),
  attempt       int not null default 0 check (attempt >= 0),
  lost          int not null default 0 check (lost >= 0),
  epoch         bigint not null default 0,
  worker        uuid,
  claim_seq     bigint,
  claimed_at    timestamptz,
  cancel_at     timestamptz,
  reason        text,
  progress      jsonb,
  error         text,
  last_error    text,
  created_at    timestamptz not null default clock_timestamp(),
  constraint status_is_known check (status in ('queued', 'running', 'suspended', 'failed')),
  constraint queued_has_a_time check (status <> 'queued' or isfinite(run_at)),
  constraint running_has_one_owner check ((status = 'running') = (worker is not null and claim_seq is not null)),
  constraint failed_has_an_error check ((status = 'failed') = (error is not null)),
  constraint only_running_waits_for_cancel check (cancel_at is null or status = 'running')
) with (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_threshold = 5000, autovacuum_analyze_scale_factor = 0.1);
comment on table howdah.task is 'The live tasks: queued, running, suspended, failed. Ended ones are in howdah.archive; howdah.tasks shows both.';
comment on column howdah.task.status is 'queued: waits for run_at and a worker. running: leased by worker. suspended: waits for a message. failed: parked with its error; UPDATE … SET error = NULL goes on.';
comment on column howdah.task.priority is 'Higher first.';
comment on column howdah.task.step is 'Where the task stands; NULL for a kind of one step.';
comment on column howdah.task.step_no is 'How many steps were finished before this one; with the id it names a step, so its retries share an idempotency key.';
comment on column howdah.task.payload is 'What the step needs: the arguments of the handler, by name.';
comment on column howdah.task.key is 'Unique among live tasks.';
comment on column howdah.task.attempt is 'Attempts of the current step, the running one included.';
comment on column howdah.task.lost is 'Attempts of the current step that ended without a word: their worker died.';
comment on column howdah.task.epoch is 'Grows by one at each claim and never falls: every write of an attempt names it, so a stale worker changes nothing.';
comment on column howdah.task.claim_seq is 'Which claim request of its worker took it: a claim whose reply was lost is found by it.';
comment on column howdah.task.cancel_at is 'Asked to be cancelled while running.';
comment on column howdah.task.reason is 'Why it is to be cancelled.';
comment on column howdah.task.progress is 'What the handler last reported: {"done": …, "total": …, "note": …}.';
comment on column howdah.task.error is 'Why it is parked; set exactly while the status is failed. Clear it to go on from the same step.';
comment on column howdah.task.last_error is 'What the last failed attempt of a task that is not parked said.';

-- Claim order. One queue and one priority at a time, so that a bound on run_at ends the scan.
create index task_claim on howdah.task (queue, priority desc, run_at, id) where status = 'queued';
create index task_worker on howdah.task (worker) where status = 'running';
create index task_failed on howdah.task (kind, id) where status = 'failed';
create unique index task_key on howdah.task (key) where key is not null;

create table howdah.archive (
  id          bigint not null,
  kind        text not null,
  queue       text not null,
  status      text not null check (status in ('succeeded', 'cancelled')),
  priority    int not null,
  run_at      timestamptz not null,
  step        text,
  payload     jsonb not null,
  key         text,
  attempt     int not null,
  lost        int not null,
  epoch       bigint not null,
  worker      uuid,
  claimed_at  timestamptz,
  reason      text,
  progress    jsonb,
  last_error  text,
  result      jsonb,
  created_at  timestamptz not null,
  finished_at timestamptz not null
) partition by range (finished_at);
comment on table howdah.archive is 'Ended tasks, one partition per day (UTC) of finished_at; retention drops whole days.';
create index archive_id on howdah.archive (id);
create table howdah.archive_default partition of howdah.archive default;
comment on table howdah.archive_default is 'Takes what no daily partition takes, so that finishing a task never fails; emptied when its day is made.';

create table howdah.event (
  id      bigint generated always as identity,
  at      timestamptz not null default clock_timestamp(),
  task_id bigint not null,
  type    text not null,
  kind    text not null,
  step    text,
  attempt int,
  epoch   bigint,
  worker  uuid,
  message text,
  data    jsonb,
  actor   text
) partition by range (at);
comment on table howdah.event is 'What is worth remembering of a task: retry, failure, crash, timeout, cancel, resume. One partition per day (UTC).';
comment on column howdah.event.message is 'The error or the reason, in words.';
comment on column howdah.event.data is 'The rest: traceback, delay until the next attempt, …';
comment on column howdah.event.actor is 'The database user behind an operator action.';
create index event_task on howdah.event (task_id, id);
create table howdah.event_default partition of howdah.event default;
comment on table howdah.event_default is 'Takes what no daily partition takes.';
