-- Topics: what a kind says of its tasks, keys that outlive them, groups with limits, deadlines, health.

-- ── what a kind says of its tasks ──

alter table howdah.kind
  add column key           text check (length(key) between 1 and 500),
  add column unique_for    interval check (unique_for > '0'),
  add column on_conflict   text not null default 'return' check (on_conflict in ('return', 'raise', 'skip', 'replace', 'merge')),
  add column groups        text[] check (cardinality(groups) between 1 and 20 and array_position(groups, null) is null),
  add column cost          double precision check (cost >= 0 and cost < 'infinity'),
  add column strategy      text not null default 'standard' check (strategy in ('standard', 'fixed', 'immediate', 'poly', 'own')),
  add column start_within  interval check (start_within > '0'),
  add column finish_within interval check (finish_within > '0'),
  add column late          text not null default 'drop' check (late in ('drop', 'park', 'run')),
  add column batch         int check (batch >= 1),
  add column batch_wait    interval check (batch_wait >= '0'),
  add column warn          jsonb check (jsonb_typeof(warn) = 'object'),
  add column alarm         jsonb check (jsonb_typeof(alarm) = 'object'),
  add column disabled_at   timestamptz,
  add column disabled_by   text,
  add column disabled_reason text;
comment on column howdah.kind.key is 'Template of the key of its tasks: {name} stands for a field of the payload.';
comment on column howdah.kind.unique_for is 'How long a key of its tasks stays taken, counted from when it was enqueued, also when the task has ended. NULL: while the task is live.';
comment on column howdah.kind.on_conflict is 'What an enqueue does whose key is taken.';
comment on column howdah.kind.groups is 'Templates of the groups of its tasks, as in key.';
comment on column howdah.kind.cost is 'How much one of its tasks counts against the rates of its groups; NULL is 1.';
comment on column howdah.kind.strategy is 'How the delay grows from retry to retry: standard (times retry_factor), fixed, immediate (the first at once, then as standard), poly (times the power retry_factor of the attempt), own (the code of the worker knows).';
comment on column howdah.kind.start_within is 'Its tasks are late when they were not begun so long after they were enqueued.';
comment on column howdah.kind.finish_within is 'Its tasks are late when they have not ended so long after they were enqueued.';
comment on column howdah.kind.late is 'What becomes of a late task: drop (cancelled), park (failed), run (nothing).';
comment on column howdah.kind.batch is 'Its handler takes up to so many tasks at once; NULL: one.';
comment on column howdah.kind.batch_wait is 'How long the first of a batch waits for others.';
comment on column howdah.kind.warn is 'From where on its health is yellow: {"wait": seconds, "retries": attempts of a live task, "failed": parked tasks}.';
comment on column howdah.kind.alarm is 'From where on its health is red, as in warn.';
comment on column howdah.kind.disabled_at is 'None of its tasks is started until it is enabled again; they can be enqueued.';

-- ── what a task has of it ──

alter table howdah.task
  add column groups        text[],
  add column cost          double precision,
  add column start_before  timestamptz,
  add column finish_before timestamptz,
  add column late          text;
comment on column howdah.task.groups is 'The groups whose limits hold for it, sorted; NULL: none.';
comment on column howdah.task.cost is 'How much a start of it counts against the rates of its groups; NULL is 1.';
comment on column howdah.task.start_before is 'It is late when it was not begun by then.';
comment on column howdah.task.finish_before is 'It is late when it has not ended by then.';
comment on column howdah.task.late is 'What becomes of it when it is late: drop (cancelled), park (failed), run (nothing). NULL: it has no deadline.';
alter table howdah.task
  add constraint deadline_has_a_policy check ((late is null) = (num_nonnulls(start_before, finish_before) = 0) and late in ('drop', 'park', 'run'));

alter table howdah.archive
  add column groups        text[],
  add column cost          double precision,
  add column start_before  timestamptz,
  add column finish_before timestamptz,
  add column late          text;

-- Tasks with groups wait in an index of their own: those without do not even see them.
drop index howdah.task_claim;
create index task_claim on howdah.task (queue, priority desc, run_at, id) where status = 'queued' and groups is null;
create index task_claim_grouped on howdah.task (queue, priority desc, groups, run_at, id) where status = 'queued' and groups is not null;
create index task_deadline on howdah.task ((case when epoch = 0 then least(start_before, finish_before) else finish_before end))
  where late in ('drop', 'park') and status in ('queued', 'suspended');

-- ── keys that stay taken when their task has ended ──

create table howdah.key (
  key     text primary key,
  kind    text not null,
  task_id bigint not null,
  until   timestamptz not null
);
comment on table howdah.key is 'Keys that are taken for a time, or for good, whether or not their task is live. Those of live tasks alone are in howdah.task.';
comment on column howdah.key.task_id is 'The task that was enqueued under it.';
create index key_until on howdah.key (until);

-- ── groups ──

create table howdah."group" (
  name          text primary key check (length(name) between 1 and 200),
  max_running   int check (max_running >= 1),
  rate          text,
  per_second    double precision check (per_second > 0 and per_second < 'infinity'),
  burst         double precision check (burst > 0 and burst < 'infinity'),
  own           boolean not null default false,
  rule          text,
  declared      jsonb,
  tat           timestamptz not null default '-infinity',
  closed_until  timestamptz,
  closed_reason text,
  closed_by     text,
  used_at       timestamptz not null,
  updated_at    timestamptz not null,
  check ((rate is null) = (per_second is null) and (rate is null) = (burst is null)),
  check (rule is null or not own)
) with (fillfactor = 50, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
comment on table howdah."group" is 'The limits, and the groups whose tasks were claimed: a limit with * in its name is the rule for all groups that match it.';
comment on column howdah."group".max_running is 'At most so many of its tasks run at once, in the whole fleet; NULL: no limit.';
comment on column howdah."group".rate is 'At most so much is started per time, as it was written: 100/min; NULL: no limit.';
comment on column howdah."group".per_second is 'The same as a number.';
comment on column howdah."group".burst is 'So much of it at once, after a rest.';
comment on column howdah."group".own is 'It was named in app.limit or set_limit, with or without limits; else it is a group whose tasks were claimed, and its limits are those of rule.';
comment on column howdah."group".rule is 'The limit with * that it has its limits from; NULL: none matches it.';
comment on column howdah."group".declared is 'What the code of workers said last: it is heeded when it changes, so that what operators set stays.';
comment on column howdah."group".tat is 'When all of what was started is paid for by the rate (GCRA: the theoretical arrival time).';
comment on column howdah."group".closed_until is 'Nothing of it is started until then: a handler has raised RateLimited, or an operator closed it.';
create index group_rule on howdah."group" (rule) where rule is not null;
create index group_pattern on howdah."group" (name) where own and position('*' in name) > 0;

create table howdah.slot (
  group_name text not null,
  task_id    bigint not null,
  primary key (group_name, task_id)
) with (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
comment on table howdah.slot is 'Which running task takes a place in which group. Written by the claim; a trigger deletes it with the end of the attempt, whoever ends it.';
create index slot_task on howdah.slot (task_id);

-- ── queues ──

alter table howdah.queue
  add column fair     boolean not null default false,
  add column ageing   interval check (ageing > '0'),
  add column declared jsonb;
comment on column howdah.queue.fair is 'Its groups take turns, within a priority; else the oldest task is first.';
comment on column howdah.queue.ageing is 'A task counts one priority higher for each such time that it has waited; NULL: it never does.';
comment on column howdah.queue.declared is 'What the code of workers said last, as in howdah."group".';

-- ── deadlines of what runs ──

create index task_overrun on howdah.task (finish_before) where status = 'running' and late in ('drop', 'park');

-- ── health ──

-- Only what was tried before and waits to be tried again: nothing for the others to write.
create index task_retried on howdah.task (kind, attempt) where status = 'queued' and attempt > 0;
create index event_crash on howdah.event (at) where type = 'crash';

create table howdah.alert (
  task      text not null check (length(task) between 1 and 200),
  scope     text not null,
  name      text not null,
  colour    text not null default 'green' check (colour in ('green', 'yellow', 'red')),
  told_at   timestamptz,
  seen      text not null default 'green' check (seen in ('green', 'yellow', 'red')),
  since     timestamptz not null,
  looked_at timestamptz,
  primary key (task, scope, name)
);
comment on table howdah.alert is 'What each alert task was told last of the colours of howdah.health. Who looks locks the row of scope all, so that one worker of the fleet tells.';
comment on column howdah.alert.task is 'The kind of the task that is enqueued when a colour changes.';
comment on column howdah.alert.colour is 'What it was told.';
comment on column howdah.alert.seen is 'What the last look saw. It is told when it has been so for long enough.';
comment on column howdah.alert.looked_at is 'When somebody looked last; only in the row of scope all.';

-- ── repair: queues that are drained, kinds that are disabled, imports ──

alter table howdah.queue
  add column draining_at     timestamptz,
  add column draining_by     text,
  add column draining_reason text;
comment on column howdah.queue.draining_at is 'What is in it is finished; it takes no more tasks until it is resumed.';
create index queue_draining on howdah.queue (name) where draining_at is not null;
create index kind_disabled on howdah.kind (name) where disabled_at is not null;

-- Rows only within the transaction of an import: nobody else ever sees any.
create unlogged table howdah.imported (
  batch  bigint not null,
  old_id bigint not null,
  new_id bigint not null,
  primary key (batch, old_id)
);
comment on table howdah.imported is 'What became of which id in an import that is under way.';
