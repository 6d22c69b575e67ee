-- What the workloads leave behind.
drop schema if exists howdah_bench cascade;
delete from howdah.message where task_id in (select id from howdah.task where queue like 'bench%');
delete from howdah.task where queue like 'bench%';
delete from howdah.event where kind like 'bench.%';
delete from howdah.archive where queue like 'bench%';
delete from howdah.kind where name like 'bench.%';
delete from howdah."group" where name like 'bench:%';
delete from howdah.queue where name like 'bench%';
delete from howdah.schedule where name like 'bench.%';
