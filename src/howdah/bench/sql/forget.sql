-- What the workloads leave behind.
drop schema if exists howdah_bench cascade;
delete from howdah.task where queue = 'bench';
delete from howdah.archive where queue = 'bench';
delete from howdah.kind where name like 'bench.%';
