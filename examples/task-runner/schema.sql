-- The task table of this program: its own, howdah knows nothing of it.
create schema if not exists runner;
create type runner.task_status as enum ('queued', 'running', 'finished', 'failed');
create table runner.task (
  id           bigint generated always as identity primary key,
  key          text not null unique check (length(key) between 1 and 200),
  payload      jsonb not null default '{}',
  status       runner.task_status not null default 'queued',
  priority     int not null default 0,
  start        timestamptz not null default now(),
  attempt      int not null default 0 check (attempt >= 0),
  max_attempts int not null default 3 check (max_attempts >= 1),
  locked       timestamptz,
  worker       text,
  result       jsonb,
  error        text,
  finished     timestamptz,
  created      timestamptz not null default now(),
  constraint running_has_a_worker check ((status = 'running') = (locked is not null and worker is not null)),
  constraint ended_has_a_time check ((status = 'finished') = (finished is not null)),
  constraint failed_has_an_error check (status <> 'failed' or error is not null)
);
create index task_claim on runner.task (priority desc, start, id) where status = 'queued';
create index task_locked on runner.task (locked) where status = 'running';
create table runner.log (
  id      bigint generated always as identity primary key,
  task_id bigint not null references runner.task,
  attempt int not null,
  worker  text not null,
  status  runner.task_status not null,
  at      timestamptz not null default now()
);
