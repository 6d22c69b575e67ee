-- What the demo keeps beside howdah's own tables. Made anew by each run, so everything here is of the last one.
drop schema if exists howdah_demo cascade;
create schema howdah_demo;
comment on schema howdah_demo is 'Tables and views of `howdah demo`. When you have seen enough: drop schema howdah_demo cascade.';

create table howdah_demo.run (
  run           text primary key,
  folder        text not null,
  files         int not null,
  started_at    timestamptz not null default clock_timestamp(),
  killed_worker uuid,
  killed_at     timestamptz,
  held          int not null default 0
);
comment on table howdah_demo.run is 'What the driver knows without asking howdah: how many files it found, which worker it killed and how many tasks that held.';

create table howdah_demo.result (
  run     text not null,
  task_id bigint not null,
  attempt int not null,
  path    text not null,
  at      timestamptz not null default clock_timestamp()
);
comment on table howdah_demo.result is 'One row per examined file, written by ctx.on_commit. Without a unique constraint, on purpose: a task that ended twice shows here.';
create index on howdah_demo.result (run, path);
