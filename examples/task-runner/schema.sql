-- The task table of this program: its own, howdah knows nothing of it.
create schema if not exists app;
create type app.task_status as enum ('queued', 'running', 'finished', 'failed');

create table app.tasks (
  id           bigint generated always as identity primary key,
  key          text not null unique check (length(key) between 1 and 200),
  payload      jsonb not null default '{}' check (jsonb_typeof(payload) = 'object'),
  status       app.task_status not null default 'queued',
  priority     int not null default 0,
  start        timestamptz not null default now(),
  locked       timestamptz,
  worker       text check (worker <> ''),
  attempt      int not null default 0 check (attempt >= 0),
  max_attempts int not null default 3 check (max_attempts >= 1),
  error        text,
  result       jsonb,
  created      timestamptz not null default now(),
  finished     timestamptz,
  constraint attempts_are_counted check (attempt <= max_attempts and (attempt > 0 or status = 'queued')),
  constraint queued_has_an_attempt_left check (status <> 'queued' or attempt < max_attempts),
  constraint only_running_is_locked check ((status = 'running') = (locked is not null)),
  constraint only_running_has_a_worker check ((status = 'running') = (worker is not null)),
  constraint only_finished_has_a_time check ((status = 'finished') = (finished is not null)),
  constraint only_finished_has_a_result check (result is null or status = 'finished'),
  constraint failed_has_an_error check (status <> 'failed' or error is not null),
  constraint finished_has_no_error check (status <> 'finished' or error is null)
);
comment on column app.tasks.priority is 'Higher first.';
comment on column app.tasks.start is 'Not before this.';
comment on column app.tasks.locked is 'Since when worker has it.';
comment on column app.tasks.attempt is 'Attempts that were begun. It names the one that holds the row: no other may end it.';
comment on column app.tasks.error is 'Why the last attempt failed; stays while the row waits for the next.';

-- Each in the order, and with the rows only, of the statement that needs it.
create index tasks_to_claim on app.tasks (priority desc, start, id) where status = 'queued';
create index tasks_in_hand on app.tasks (locked) where status = 'running';
create index tasks_to_retry on app.tasks (id) where status = 'failed' and attempt < max_attempts;

-- What happened to each task, in the transaction in which it happened.
create table app.task_log (
  id      bigint generated always as identity primary key,
  task_id bigint not null references app.tasks on delete cascade,
  attempt int not null check (attempt >= 1),
  worker  text not null,
  message text not null,
  at      timestamptz not null default clock_timestamp()
);
create index task_log_of_task on app.task_log (task_id, id);
